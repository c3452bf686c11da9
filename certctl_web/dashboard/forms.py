"""Forms and queries as browsers send them, and whether a form is one of ours.

A form is believed when the browser says that it came from our own page (Sec-Fetch-Site, or Origin from browsers that do
not send it; W3C Fetch Metadata) *and* it carries the token that was put into that page, compared in constant time.
"""

import hmac
import re
import secrets
import urllib.parse
from collections.abc import Mapping
from typing import Final

import falcon

from certctl_core.errors import Forbidden, Invalid, TooLarge
from certctl_web.dashboard.answers import set_cookie

FORM_COOKIE: Final = "__Host-certctl-form"
"""Binds a form that comes before any session, the log-in form, to the browser that asked for it."""

CSRF_FIELD: Final = "csrf_token"
MAX_FORM: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def query(req: falcon.Request) -> Mapping[str, str]:
    """The fields of the query; of a field that is there twice, the last one."""
    return dict(urllib.parse.parse_qsl(req.query_string, keep_blank_values=True))


def read(req: falcon.Request) -> Mapping[str, str]:
    """The fields of a form; of a field that is there twice, the last one."""
    body = req.bounded_stream.read(MAX_FORM + 1)
    if len(body) > MAX_FORM:
        raise TooLarge("The form is too large", hint=f"At most {MAX_FORM} bytes are read.")
    try:
        return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Invalid("The form cannot be read") from None


def must_be_ours(req: falcon.Request, fields: Mapping[str, str], token: str, public_url: str) -> None:
    """Raises `Forbidden` unless the form came from our own page and carries `token`. `public_url` is another address
    of this server, if it has one."""
    sent = fields.get(CSRF_FIELD, "")
    is_ours = bool(token) and hmac.compare_digest(sent.encode(), token.encode())
    if not (is_ours and _comes_from_here(req, public_url)):
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


def token_of(req: falcon.Request, resp: falcon.Response) -> str:
    """The token of forms outside of a session, kept in a cookie of its own."""
    token = req.cookies.get(FORM_COOKIE, "")
    if not _TOKEN.fullmatch(token):
        token = secrets.token_urlsafe(32)
    set_cookie(resp, FORM_COOKIE, token)
    return token


def own_path(wanted: str) -> str:
    """`wanted` if it is a path of this server, else the overview: a link must not lead out of here by our redirect."""
    is_own = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if is_own and wanted.isascii() and wanted.isprintable() else "/"
