"""CORS, denied unless origins are configured (Fetch standard, section 3.2)."""

from collections.abc import Sequence
from typing import Final

import falcon

OPEN_PATHS: Final = frozenset({"/health", "/ready", "/api/v1/auth/info"})
"""Nothing in their answers belongs to anybody."""

_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, PATCH, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, X-Request-ID",
    "Access-Control-Max-Age": "86400",
}


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        origin = self._allowed(req)
        if origin:
            resp.set_header("Access-Control-Allow-Origin", origin)
            for name, value in _PREFLIGHT.items():
                resp.set_header(name, value)
        if self._origins and "*" not in self._origins:
            resp.append_header("Vary", "Origin")
        if req.method == "OPTIONS":
            resp.status = falcon.HTTP_NO_CONTENT
            resp.complete = True

    def _allowed(self, req: falcon.Request) -> str:
        """What Access-Control-Allow-Origin says; empty when it is not sent."""
        if req.path in OPEN_PATHS or "*" in self._origins:
            return "*"
        origin = req.get_header("Origin") or ""
        return origin if origin in self._origins else ""
