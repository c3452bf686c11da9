"""The dashboard: server-rendered pages for people, beside the API for programs.

Pages are plain links and forms that work without any script; htmx refreshes what is on the screen every few seconds and
while somebody types into a search field. Whoever looks has logged in with an API key and has a session of their own
(guard.py); the key's role says what they may see and do.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import falcon
from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined

from certctl_core.ports import Ports
from certctl_web.access import AUDITORS, OPERATORS, PEOPLE
from certctl_web.dashboard import wording
from certctl_web.dashboard.api_reference import ApiReference
from certctl_web.dashboard.assets import HTMX, Assets, StaticFiles
from certctl_web.dashboard.guard import Action, Desk, Page, Question, nothing_here, show_error
from certctl_web.dashboard.login import LogIn, LogOut
from certctl_web.dashboard.views import agents, certificates, issuers, jobs, overview, trail
from certctl_web.options import Options

App = falcon.App[Any, Any]

REFRESH_SECONDS: Final = 5


@frozen
class NotFoundPage:
    """What a browser sees at an address that leads nowhere. Programs get the application's own answer."""

    desk: Desk

    def __call__(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        if req.method != "GET" or "text/html" not in req.accept:
            raise falcon.HTTPRouteNotFound
        show_error(self.desk, req, resp, nothing_here(req.path), self.desk.visit(req, resp))


def mount(app: App, ports: Ports, options: Options) -> None:
    """Add the dashboard's routes, all outside of `/api`. They are no operations, so the application's check of bearer
    keys is not for them; each asks for a session itself."""
    assets = packaged()
    desk = Desk(ports, options, templates(assets))
    pages: Mapping[str, object] = {
        "/": Page(desk, PEOPLE, overview.overview),
        "/certificates": Page(desk, PEOPLE, certificates.all_of_them),
        "/certificates/{certificate_id}": Page(desk, PEOPLE, certificates.one),
        "/certificates/{certificate_id}/renew": Action(desk, OPERATORS, certificates.renew),
        "/certificates/{certificate_id}/deploy": Action(desk, OPERATORS, certificates.deploy),
        "/certificates/{certificate_id}/revoke": Question(
            desk, OPERATORS, certificates.ask_revoke, certificates.revoke
        ),
        "/certificates/{certificate_id}/release": Action(desk, OPERATORS, certificates.release),
        "/jobs": Page(desk, PEOPLE, jobs.all_of_them),
        "/jobs/{job_id}/retry": Action(desk, OPERATORS, jobs.retry),
        "/jobs/{job_id}/cancel": Action(desk, OPERATORS, jobs.cancel),
        "/agents": Page(desk, PEOPLE, agents.all_of_them),
        "/issuers": Page(desk, PEOPLE, issuers.all_of_them),
        "/audit": Page(desk, AUDITORS, trail.all_of_it),
        "/docs": ApiReference(desk),
        "/login": LogIn(desk),
        "/logout": LogOut(desk),
        "/static/{name}": StaticFiles(assets),
    }
    for path, resource in pages.items():
        app.add_route(path, resource)
    app.add_sink(NotFoundPage(desk), "/")


@cache
def packaged() -> Assets:
    """The files that came with certctl, read once."""
    return Assets.packaged()


@cache
def templates(assets: Assets) -> Environment:
    """The templates, with what they call things by."""
    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "asset": assets.url,
        "htmx": assets.url(HTMX) if assets.has(HTMX) else "",
        "say": wording,
        "refresh_seconds": REFRESH_SECONDS,
    }
    return environment
