"""One line for each request: who asked what, with which outcome and in which time. Never the query, never a body."""

import time
from typing import Any, Final

import falcon
import structlog

from certctl_web import metrics
from certctl_web.middleware import facts

_log: Final = structlog.stdlib.get_logger("certctl.http")


class RequestLog:
    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _req_succeeded: bool
    ) -> None:
        known = facts.of(req)
        status = resp.status_code
        took = time.monotonic() - known.started
        operation = known.operation.name if known.operation else ""
        metrics.answered(operation, status, took)
        line: dict[str, Any] = {
            "method": req.method,
            "path": facts.path_of(req),
            "status": status,
            "duration_ms": round(took * 1000, 1),
            "client": known.client,
            "actor": known.caller.name if known.caller else "",
            "operation": operation,
        }
        if known.failure is not None:
            line["problem"] = type(known.failure).__name__
        if status >= 500:
            _log.error("request", **line, exc_info=known.failure)
        elif known.operation is not None and not known.operation.recorded:
            _log.debug("request", **line)
        else:
            _log.info("request", **line)
