"""Who may look at a page and who may press a button: sessions, forms and the headers of every answer.

Deny by default. Every page is a `Page` and every button an `Action`; both let nobody pass without an open session and
a role that is listed, and there is no other way to register one. A form is believed when the browser says that it came
from our own page (Sec-Fetch-Site, or Origin from browsers that do not send it) *and* it carries the token of the
session, compared in constant time. The session's cookie is `__Host-`: only this host can have set it, over TLS, and
scripts do not see it.

RFC 6265bis (cookies), W3C Content Security Policy Level 3, W3C Fetch Metadata.
"""

import base64
import hmac
import json
import secrets
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import falcon
from attrs import field, frozen
from jinja2 import Environment

from certctl_core.errors import CertctlError, Forbidden, Invalid, NotFound, TooLarge
from certctl_core.models.access import Principal, Role
from certctl_core.ports import Ports
from certctl_core.usecases import access
from certctl_web import problems
from certctl_web.access import AUDITORS, EVERYBODY_IS_ADMIN, OPERATORS
from certctl_web.middleware import facts
from certctl_web.options import Options

SESSION_COOKIE: Final = "__Host-certctl"
FORM_COOKIE: Final = "__Host-certctl-form"
"""Binds a form that comes before any session, the log-in form, to the browser that asked for it."""

NOTICE_COOKIE: Final = "__Host-certctl-notice"
"""Carries the outcome of an action across the redirect that follows it."""

CSRF_FIELD: Final = "csrf_token"
MAX_FORM: Final = 64 * 1024
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it browsers would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


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
    def may_audit(self) -> bool:
        return self.principal.role in AUDITORS


@frozen
class Notice:
    """What became of an action, told on the next page. `tone` is `good` or `bad`."""

    tone: str
    message: str
    hint: str = ""

    def pack(self) -> str:
        """As the value of a cookie."""
        text = json.dumps([self.tone, _shortened(self.message, 450), _shortened(self.hint, 250)], ensure_ascii=False)
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def unpack(cls, value: str) -> "Notice | None":
        """None when the cookie is not one of ours."""
        try:
            tone, message, hint = json.loads(base64.urlsafe_b64decode(value))
        except (ValueError, TypeError):
            return None
        return cls("good" if tone == "good" else "bad", str(message), str(hint))


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
            return Visit(EVERYBODY_IS_ADMIN, form_token(req, resp), now)
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
        secure(resp)


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
            shown = self._show(self._desk, Asked(visit, query(req), path))
            notice = None if fragment else _take_notice(req, resp)
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
            fields = form(req)
            must_be_our_form(self._desk, req, fields, visit.csrf_token)
            try:
                done = self._act(self._desk, Asked(visit, fields, path))
                notice, back_to = Notice("good", done.message), done.back_to
            except CertctlError as error:
                notice, back_to = Notice("bad", sentence(error.message), error.hint), own_path(fields.get("back", ""))
            set_cookie(resp, NOTICE_COOKIE, notice.pack(), max_age=60)
            redirect(resp, back_to)

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


def _shortened(text: str, length: int) -> str:
    """Cookies over 4 KiB are dropped by browsers."""
    return text if len(text) <= length else text[: length - 1] + "…"


def sentence(message: str) -> str:
    """Errors of the core begin in lower case and end without a stop, since they are often quoted inside of others."""
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")


def secure(resp: falcon.Response) -> None:
    for name, value in SECURITY_HEADERS.items():
        resp.set_header(name, value)


def redirect(resp: falcon.Response, to: str) -> None:
    secure(resp)
    resp.status = 303
    resp.set_header("Location", to)


def set_cookie(resp: falcon.Response, name: str, value: str, max_age: int | None = None) -> None:
    resp.set_cookie(name, value, max_age=max_age, path="/", secure=True, http_only=True, same_site="Strict")


def drop_cookie(resp: falcon.Response, name: str) -> None:
    """With the attributes it was set with: browsers ignore any other attempt to touch a `__Host-` cookie."""
    resp.set_cookie(name, "", expires=_LONG_AGO, path="/", secure=True, http_only=True, same_site="Strict")


def own_path(wanted: str) -> str:
    """`wanted` if it is a path of this server, else the overview: a link must not lead out of here by our redirect."""
    parts = urllib.parse.urlsplit(wanted)
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return wanted if is_own and wanted.isprintable() and "\\" not in wanted else "/"


def form(req: falcon.Request) -> Mapping[str, str]:
    """The fields of a form; of a field that is there twice, the last one."""
    body = req.bounded_stream.read(MAX_FORM + 1)
    if len(body) > MAX_FORM:
        raise TooLarge("The form is too large", hint=f"At most {MAX_FORM} bytes are read.")
    try:
        return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Invalid("The form cannot be read") from None


def must_be_our_form(desk: Desk, req: falcon.Request, fields: Mapping[str, str], token: str) -> None:
    """Raises `Forbidden` unless the form came from our own page and carries `token`."""
    sent = fields.get(CSRF_FIELD, "")
    is_ours = bool(token) and hmac.compare_digest(sent.encode(), token.encode())
    if not (is_ours and _comes_from_here(req, desk.ports.public_url)):
        raise Forbidden(
            "This form was not sent by a page of this session, so nothing was done",
            hint="Reload the page and try again.",
        )


def _comes_from_here(req: falcon.Request, public_url: str) -> bool:
    site = req.get_header("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = req.get_header("Origin")
    public = urllib.parse.urlsplit(public_url)
    ours = {f"{req.scheme}://{req.netloc}", f"{public.scheme}://{public.netloc}"}
    return origin is not None and origin in ours


def form_token(req: falcon.Request, resp: falcon.Response) -> str:
    """The token of forms outside of a session, kept in a cookie of its own."""
    token = req.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
    set_cookie(resp, FORM_COOKIE, token)
    return token


def _is_fragment(req: falcon.Request) -> bool:
    """Whether a part of a page asks to be refreshed."""
    return req.get_header("HX-Request") == "true"


def _send_to_login(desk: Desk, req: falcon.Request, resp: falcon.Response) -> None:
    wanted = req.relative_uri if req.method == "GET" else "/"
    login = "/login" if wanted == "/" else "/login?" + urllib.parse.urlencode({"next": wanted})
    if _is_fragment(req):
        secure(resp)
        resp.status = 401
        resp.set_header("HX-Redirect", "/login")
    elif req.method == "GET" and req.get_header("Sec-Fetch-Site") == "cross-site":
        # A link from elsewhere brings no SameSite=Strict cookie along. Asking once more from here brings it.
        desk.render(resp, "again.html", here=wanted)
    else:
        redirect(resp, login)


def query(req: falcon.Request) -> Mapping[str, str]:
    """The fields of the query; of a field that is there twice, the last one."""
    return dict(urllib.parse.parse_qsl(req.query_string, keep_blank_values=True))


def _must_be_one_of(who: frozenset[Role], visit: Visit) -> None:
    if visit.principal.role not in who:
        raise Forbidden(
            f"A key with the role {visit.principal.role.value} may not do this",
            hint="Sign in with an operator's or an administrator's key.",
        )


def _take_notice(req: falcon.Request, resp: falcon.Response) -> Notice | None:
    packed = req.cookies.get(NOTICE_COOKIE)
    if packed is None:
        return None
    drop_cookie(resp, NOTICE_COOKIE)
    return Notice.unpack(packed)
