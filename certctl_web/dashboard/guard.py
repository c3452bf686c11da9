"""Who may look at a page and who may press a button.

Deny by default. Every page is a `Page` and every button an `Action`; both let nobody pass without an open session and
a role that is listed, and there is no other way to register one.
"""

import urllib.parse
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import falcon
from attrs import field, frozen
from jinja2 import Environment

from certctl_core.errors import CertctlError, Forbidden, NotFound
from certctl_core.models.access import Principal, Role
from certctl_core.ports import Ports
from certctl_core.usecases import access
from certctl_web import problems
from certctl_web.access import AUDITORS, EVERYBODY_IS_ADMIN, OPERATORS, PEOPLE
from certctl_web.dashboard import answers, forms
from certctl_web.dashboard.answers import Notice, sentence
from certctl_web.middleware import facts
from certctl_web.options import Options

SESSION_COOKIE: Final = "__Host-certctl"


@frozen
class Visit:
    """Somebody with an open session, and when they asked."""

    principal: Principal
    csrf_token: str = field(repr=False)
    at: datetime

    @property
    def may_act(self) -> bool:
        return self.principal.role in OPERATORS

    @property
    def may_look(self) -> bool:
        return self.principal.role in PEOPLE

    @property
    def may_audit(self) -> bool:
        return self.principal.role in AUDITORS and self.principal.scope.is_everything

    @property
    def home(self) -> str:
        """Where the visitor starts."""
        return home_of(self.principal.role)


def home_of(role: Role) -> str:
    return "/" if role in PEOPLE else "/audit"


@frozen
class Desk:
    """What every page needs: the ports, the options of the server, and the templates."""

    ports: Ports
    options: Options
    templates: Environment

    def visit(self, req: falcon.Request, resp: falcon.Response) -> Visit | None:
        """The visit this request belongs to; None without an open session."""
        now = self.ports.clock.now()
        if not self.options.auth_required:
            return Visit(EVERYBODY_IS_ADMIN, forms.token_of(req, resp), now)
        cookie = req.cookies.get(SESSION_COOKIE)
        found = access.session(self.ports, cookie) if cookie else None
        if found is None:
            return None
        session, key = found
        return Visit(access.principal_of(key, facts.of(req).request_id), session.csrf_token, now)

    def render(self, resp: falcon.Response, template: str, status: int = 200, **words: Any) -> None:
        resp.status = status
        resp.content_type = "text/html; charset=utf-8"
        resp.text = self.templates.get_template(template).render(words)
        answers.secure(resp)


@frozen
class Asked:
    """A request of a visitor: query or form fields, and the parameters of the path."""

    visit: Visit
    fields: Mapping[str, str]
    path: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.fields.get(name, "").strip()


@frozen
class Shown:
    """A page to be shown."""

    template: str
    words: Mapping[str, Any]


@frozen
class Done:
    """An action that worked: what to tell, and where to go on."""

    message: str
    back_to: str


class _Guarded:
    """Lets visitors with one of the roles in; answers errors of the core with a page that says what to do next."""

    def __init__(self, desk: Desk, who: frozenset[Role]) -> None:
        self._desk = desk
        self._who = who

    def _let_in(self, req: falcon.Request, resp: falcon.Response, answer: Callable[[Visit], None]) -> None:
        visit = None
        try:
            visit = self._desk.visit(req, resp)
            if visit is None:
                _send_to_login(self._desk, req, resp)
                return
            _must_be_one_of(self._who, visit)
            answer(visit)
        except CertctlError as error:
            show_error(self._desk, req, resp, error, visit)
        except Exception as error:  # noqa: BLE001 - whatever it is: the log gets all of it, the person a page
            known = facts.of(req)
            known.failure = error
            surprise = f"The server's log has the cause under request id {known.request_id}."
            _show_failure(self._desk, req, resp, problems.UNEXPECTED, "This was not foreseen.", surprise, visit)


class Page(_Guarded):
    """`GET` of a page. `who` are the roles that may see it."""

    def __init__(self, desk: Desk, who: frozenset[Role], show: Callable[[Desk, Asked], Shown]) -> None:
        super().__init__(desk, who)
        self._show = show

    def on_get(self, req: falcon.Request, resp: falcon.Response, **path: str) -> None:
        fragment = _is_fragment(req)

        def answer(visit: Visit) -> None:
            shown = self._show(self._desk, Asked(visit, forms.query(req), path))
            notice = None if fragment else answers.take_notice(req, resp)
            self._desk.render(
                resp, shown.template, **shown.words, visit=visit, here=req.path, fragment=fragment, notice=notice
            )
            resp.append_header("Vary", "HX-Request")

        self._let_in(req, resp, answer)


class Action(_Guarded):
    """`POST` of a form. Ends in a redirect, with the outcome told on the page that follows."""

    def __init__(self, desk: Desk, who: frozenset[Role], act: Callable[[Desk, Asked], Done]) -> None:
        super().__init__(desk, who)
        self._act = act

    def on_post(self, req: falcon.Request, resp: falcon.Response, **path: str) -> None:
        def answer(visit: Visit) -> None:
            fields = forms.read(req)
            forms.must_be_ours(req, fields, visit.csrf_token, self._desk.options.public_url)
            try:
                done = self._act(self._desk, Asked(visit, fields, path))
                notice, back_to = Notice("good", done.message), done.back_to
            except CertctlError as error:
                notice, back_to = (
                    Notice("bad", sentence(error.message), error.hint),
                    forms.own_path(fields.get("back", "")),
                )
            answers.set_cookie(resp, answers.NOTICE_COOKIE, notice.pack(), max_age=60)
            answers.redirect(resp, back_to)

        self._let_in(req, resp, answer)


class Question(Page):
    """An action that is asked about first, on a page of its own: `GET` asks, `POST` does it."""

    def __init__(
        self,
        desk: Desk,
        who: frozenset[Role],
        show: Callable[[Desk, Asked], Shown],
        act: Callable[[Desk, Asked], Done],
    ) -> None:
        super().__init__(desk, who, show)
        self._action = Action(desk, who, act)

    def on_post(self, req: falcon.Request, resp: falcon.Response, **path: str) -> None:
        self._action.on_post(req, resp, **path)


def show_error(
    desk: Desk, req: falcon.Request, resp: falcon.Response, error: CertctlError, visit: Visit | None
) -> None:
    _show_failure(desk, req, resp, problems.status_of(type(error)), sentence(error.message), error.hint, visit)


def _show_failure(
    desk: Desk, req: falcon.Request, resp: falcon.Response, status: int, message: str, hint: str, visit: Visit | None
) -> None:
    desk.render(
        resp,
        "error.html",
        status=status,
        code=status,
        message=message,
        hint=hint,
        visit=visit,
        here=req.path,
        fragment=False,
        notice=None,
    )


def nothing_here(path: str) -> NotFound:
    return NotFound(f"There is no page at {path}", hint="Check the address, or start again from the overview.")


def _is_fragment(req: falcon.Request) -> bool:
    """Whether a part of a page asks to be refreshed."""
    return req.get_header("HX-Request") == "true"


def _send_to_login(desk: Desk, req: falcon.Request, resp: falcon.Response) -> None:
    wanted = req.relative_uri if req.method == "GET" else "/"
    login = "/login" if wanted == "/" else "/login?" + urllib.parse.urlencode({"next": wanted})
    if _is_fragment(req):
        answers.secure(resp)
        resp.status = 401
        resp.set_header("HX-Redirect", "/login")
    elif req.method == "GET" and req.get_header("Sec-Fetch-Site") == "cross-site":
        # A link from elsewhere brings no SameSite=Strict cookie along. Asking once more from here brings it.
        desk.render(resp, "again.html", here=wanted)
    else:
        answers.redirect(resp, login)


def _must_be_one_of(who: frozenset[Role], visit: Visit) -> None:
    if visit.principal.role not in who:
        raise Forbidden(
            f"A key with the role {visit.principal.role.value} may not do this",
            hint=f"Roles that may: {', '.join(sorted(role.value for role in who))}. Sign in with such a key.",
        )
