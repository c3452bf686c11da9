"""Logs: one JSON object a line on standard output."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class JsonLines(logging.Formatter):
    """What was given as `extra` becomes members of the object."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._agent = agent

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "agent": self._agent,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str, agent: str) -> None:
    """`debug`, or anything else for info. Libraries are heard from warnings upwards."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(agent))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("certctl_agent").setLevel(logging.DEBUG if level == "debug" else logging.INFO)
