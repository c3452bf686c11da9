"""Logging in with an API key, and out again."""

import hmac

import falcon
import structlog

from certctl_core.errors import CertctlError, NotAuthenticated
from certctl_core.usecases import access
from certctl_web import problems
from certctl_web.dashboard import answers, forms
from certctl_web.dashboard.answers import sentence
from certctl_web.dashboard.guard import SESSION_COOKIE, Desk, home_of, show_error
from certctl_web.middleware import facts


class LogIn:
    """`GET` shows the form, `POST` opens a session and goes on to the page that was wanted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._ask(req, resp, wanted=forms.query(req).get("next", ""))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        wanted = ""
        try:
            fields = forms.read(req)
            wanted = fields.get("next", "")
            forms.must_be_ours(req, fields, req.cookies.get(forms.FORM_COOKIE, ""), self._desk.options.public_url)
            presented = fields.get("api_key", "").strip()
            _must_be_no_setting(self._desk, presented)
            opened = access.log_in(self._desk.ports, presented)
        except CertctlError as error:
            if isinstance(error, NotAuthenticated):
                structlog.get_logger(__name__).warning("dashboard log-in refused", client=facts.of(req).client)
            self._ask(req, resp, wanted=wanted, error=error)
            return
        age = opened.session.expires_at - opened.session.created_at
        answers.set_cookie(resp, SESSION_COOKIE, opened.cookie, max_age=int(age.total_seconds()))
        answers.drop_cookie(resp, forms.FORM_COOKIE)
        page = forms.own_path(wanted)
        answers.redirect(resp, home_of(opened.key.role) if page == "/" else page)

    def _ask(
        self, req: falcon.Request, resp: falcon.Response, *, wanted: str, error: CertctlError | None = None
    ) -> None:
        self._desk.render(
            resp,
            "login.html",
            status=problems.status_of(type(error)) if error else 200,
            token=forms.token_of(req, resp),
            wanted=forms.own_path(wanted),
            error=sentence(error.message) if error else "",
            hint=error.hint if error else "",
        )


def _must_be_no_setting(desk: Desk, presented: str) -> None:
    """Sessions belong to keys in the database, so that revoking a key ends them. Raises `NotAuthenticated`."""
    matches = [hmac.compare_digest(given.key.encode(), presented.encode()) for given in desk.options.given_keys]
    if any(matches):
        raise NotAuthenticated(
            "That key comes from the server's settings and opens the API only",
            hint="Make one for a person with: certctl-server apikey create",
        )


class LogOut:
    """`POST` ends the session. A session that has ended already is no error."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        visit = None
        try:
            visit = self._desk.visit(req, resp)
            if visit is not None:
                forms.must_be_ours(req, forms.read(req), visit.csrf_token, self._desk.options.public_url)
                access.log_out(self._desk.ports, req.cookies.get(SESSION_COOKIE, ""))
        except CertctlError as error:
            show_error(self._desk, req, resp, error, visit)
            return
        answers.drop_cookie(resp, SESSION_COOKIE)
        answers.redirect(resp, "/login")
