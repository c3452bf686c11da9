"""Structured logs on standard error: one JSON object a line, with the id of the request it belongs to.

Everything that logs ends here: our own code through structlog; gunicorn, huey and psycopg through `logging`. The id of
a request is bound once by the middleware (`structlog.contextvars.bind_contextvars(request_id=...)`) and is then on
every line that its greenlet or thread writes. Secrets are kept out by never being logged; nothing here looks for them.
"""

import logging
import re
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, Processor

from certctl_web.settings import Log

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

CHATTY: Final = {"huey": logging.WARNING, "gunicorn": logging.WARNING, "psycopg.pool": logging.ERROR}
"""Libraries whose every step is of interest only when looking for a fault, and what is heard of them otherwise. The
pool warns of each connection that a restarted database has closed; whoever needs a connection reports it better."""


def configure(log: Log, process: str) -> None:
    """Send every log of this process to standard error. `process` says which part of the server is speaking."""
    level = _LEVELS[log.level]

    def name_process(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers(log.format))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in CHATTY.items():
        logging.getLogger(name).setLevel(logging.DEBUG if level == logging.DEBUG else max(level, least))
    logging.captureWarnings(True)


def _renderers(form: str) -> list[Processor]:
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if form == "text":
        # Not structlog's own tracebacks: where rich is installed they show every local variable, keys and tokens too.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        return [remove_meta, structlog.processors.format_exc_info, _for_a_terminal, renderer]
    return [
        remove_meta,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _for_the_eye,
        structlog.processors.JSONRenderer(default=str, sort_keys=False),
    ]


def _for_a_terminal(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Without what a terminal obeys: others choose what some of the texts say."""
    return {name: _CONTROLS.sub(_escaped, value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}"


def _for_the_eye(_logger: object, _method: str, event: EventDict) -> EventDict:
    """When, how bad, who and what first; then the rest."""
    first = ("timestamp", "level", "process", "message")
    return {**{name: event.pop(name) for name in first if name in event}, **event}
