"""Headers that keep browsers from being clever with our answers. What a page has set itself is left alone."""

from typing import Final

import falcon

_ALWAYS: Final = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class SecurityHeaders:
    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _req_succeeded: bool
    ) -> None:
        for name, value in _ALWAYS.items():
            if resp.get_header(name) is None:
                resp.set_header(name, value)
        if req.path.startswith("/api/") and resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
