"""Reads the body once, up to a limit, whether its length was announced or it comes in chunks.

WSGI does not say how long a chunked body is, so a framework that trusts Content-Length sees none. Here the body is read
to its end or to one byte over the limit, and handed on as if its length had been announced. A body that stalls, stops
early or comes in malformed chunks is its sender's fault; how long it may take is for the server below to say (`web`).
"""

import io

import falcon

from certctl_core.errors import Invalid, TooLarge
from certctl_web.middleware import facts


class BodyLimit:
    def __init__(self, limit: int) -> None:
        self._limit = limit

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        body = self._read(req)
        facts.of(req).body = body
        req.env["wsgi.input"] = req.stream = io.BytesIO(body)
        req.env["CONTENT_LENGTH"] = str(len(body))

    def _read(self, req: falcon.Request) -> bytes:
        """Raises `TooLarge`, `Invalid` for a body that ends early or is malformed, and 408 for one that stalls."""
        if "chunked" in (req.get_header("Transfer-Encoding") or "").lower():
            return self._read_up_to(req, self._limit + 1)
        announced = req.content_length or 0
        if announced > self._limit:
            raise self._too_large()
        body = self._read_up_to(req, announced)
        if len(body) < announced:
            raise Invalid(f"the body ended after {len(body)} of {announced} bytes")
        return body

    def _read_up_to(self, req: falcon.Request, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        try:
            while missing > 0 and (part := req.env["wsgi.input"].read(missing)):
                parts.append(part)
                missing -= len(part)
        except TimeoutError:
            raise falcon.HTTPError(falcon.HTTP_REQUEST_TIMEOUT, description="the body did not arrive in time") from None
        except Exception as error:  # every server has its own errors for what it reads, and none is ours
            raise Invalid("the body cannot be read: it stops early or its chunks are malformed") from error
        body = b"".join(parts)
        if len(body) > self._limit:
            raise self._too_large()
        return body

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is over {self._limit} bytes", hint="Send less at once; CERTCTL_MAX_BODY_SIZE sets the limit."
        )
