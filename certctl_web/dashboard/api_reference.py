"""`/docs`: the interface as a page, for whoever writes a client. Nothing on it comes from another host.

The page is public, like the OpenAPI document it is made from, and the same for everybody, so each process makes it
once.
"""

import gzip
from functools import cached_property

import falcon
from attrs import define

from certctl_web import openapi, reference
from certctl_web.dashboard import answers
from certctl_web.dashboard.guard import Desk
from certctl_web.operations import TABLE


@define(slots=False)
class ApiReference:
    """The resource behind `/docs`."""

    desk: Desk

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answers.secure(resp)
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header("Cache-Control", "no-cache")
        resp.append_header("Vary", "Accept-Encoding")
        if "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = self._packed
        else:
            resp.data = self._page

    @cached_property
    def _page(self) -> bytes:
        document = openapi.document(TABLE, self.desk.options.version)
        template = self.desk.templates.get_template("api_reference.html")
        return template.render(
            version=self.desk.options.version,
            sections=reference.sections(document),
            kinds=reference.kinds(document),
            example=reference.example,
        ).encode()

    @cached_property
    def _packed(self) -> bytes:
        return gzip.compress(self._page, mtime=0)
