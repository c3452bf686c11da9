"""A client of the REST API, small enough to be read: what the demo does, any program can do."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define

from demo.processes import Failure

TIMEOUT: Final = 30.0


@define
class Api:
    """The control plane at `url`, believed by its CA alone."""

    url: str
    ca_file: Path | None = None
    key: str = ""

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a successful answer. Raises `Failure` with the server's own words for any other."""
        status, content = self.raw(method, path, None if body is None else json.dumps(body).encode())
        if status >= 400:
            raise Failure(f"{method} {path} answered {status}: {content.decode(errors='replace')[:600]}")
        return json.loads(content) if content else None

    def raw(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body. Raises `OSError` when the server cannot be reached."""
        address = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=TIMEOUT, context=self._context()
        )
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context
