"""What goes with every answer to a browser: security headers, cookies, and the notice of what became of an action.

Cookies are `__Host-`: only this host can have set them, over TLS, and scripts do not see them (RFC 6265bis). The
content security policy permits our own files and nothing that stands in a page itself (W3C CSP Level 3).
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import falcon
from attrs import frozen

NOTICE_COOKIE: Final = "__Host-certctl-notice"
"""Carries the outcome of an action across the redirect that follows it."""

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


def _shortened(text: str, length: int) -> str:
    """Cookies over 4 KiB are dropped by browsers."""
    return text if len(text) <= length else text[: length - 1] + "…"


def take_notice(req: falcon.Request, resp: falcon.Response) -> Notice | None:
    """The notice that waits for this browser, which sees it once."""
    packed = req.cookies.get(NOTICE_COOKIE)
    if packed is None:
        return None
    drop_cookie(resp, NOTICE_COOKIE)
    return Notice.unpack(packed)


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
