"""The WSGI application: the table of operations behind the middleware.

`create_app(ports, options)` is all that a server process needs. The result is called for each request, and closed once
when the process stops, so that what is still to be recorded is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import falcon

from certctl_core.ports import Ports
from certctl_web import dashboard
from certctl_web.access import Keyring
from certctl_web.endpoint import Endpoint, row_of
from certctl_web.middleware import recovery
from certctl_web.middleware.agent_activity import AgentActivity
from certctl_web.middleware.api_audit import ApiAudit, CallRecorder
from certctl_web.middleware.authentication import Authentication
from certctl_web.middleware.body_limit import BodyLimit
from certctl_web.middleware.cors import Cors
from certctl_web.middleware.logging import RequestLog
from certctl_web.middleware.rate_limit import RateLimit
from certctl_web.middleware.request_id import RequestId
from certctl_web.middleware.security_headers import SecurityHeaders
from certctl_web.operation import Row
from certctl_web.operations import TABLE
from certctl_web.options import Options

StartResponse = Callable[..., Any]


class Application:
    """A WSGI application. `falcon` is there for pages that are not operations to be added to."""

    def __init__(self, app: "falcon.App[Any, Any]", *writers: CallRecorder | AgentActivity) -> None:
        self.falcon = app
        self._writers = writers

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return self.falcon(environ, start_response)

    def close(self) -> None:
        """Write what is still to be recorded. The ports must still work."""
        for writer in self._writers:
            writer.close()


def create_app(
    ports: Ports, options: Options | None = None, table: Iterable[Row] = TABLE, *, pages: bool = True
) -> Application:
    """The application over these ports; with `pages`, the dashboard as well."""
    options = options or Options()
    options = attrs.evolve(options, started_at=options.started_at or ports.clock.now())
    recorder, activity = CallRecorder(ports), AgentActivity(ports)
    limit = RateLimit(options.rate, options.agent_rate) if options.rate else None
    keyring = Keyring(ports, options.given_keys, options.key_changes_noticed) if options.auth_required else None
    middleware: list[Any] = [
        RequestId(options.trusted_proxies),
        SecurityHeaders(),
        RequestLog(),
        BodyLimit(options.max_body_size),
        *([limit] if limit else []),
        Cors(options.cors_origins),
        Authentication(keyring, limit, row_of),
        *([ApiAudit(recorder.add, ports), activity] if options.record_calls else []),
    ]
    app: falcon.App[Any, Any] = falcon.App(middleware=middleware)
    recovery.install(app)
    by_path: dict[str, list[Row]] = defaultdict(list)
    for row in table:
        by_path[row.path].append(row)
    for path, rows in by_path.items():
        app.add_route(path, Endpoint(ports, options, rows))
    if pages:
        dashboard.mount(app, ports, options)
    return Application(app, recorder, activity)
