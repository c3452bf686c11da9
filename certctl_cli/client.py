"""The control plane as commands call it. The connection, and all that has to be imported for it, is made by the first
call."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from certctl_cli.profiles import SettingsError
from certctl_cli.settings import Settings
from certctl_core.errors import Invalid

if TYPE_CHECKING:
    from certctl_adapters.control_plane import ControlPlane
    from certctl_adapters.http import Answer

API = "/api/v1"
MOST_ROWS = 500


def one(collection: str, identity: str, *more: str) -> str:
    """The path of one object: `one("jobs", "job-1", "cancel")`."""
    return "/".join([f"/{collection}/{quote(identity, safe='')}", *more])


class Server:
    """Calls of the API, and answers as JSON. Each raises `Unreachable`, or what the server's refusal means."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.server_url
        self.settings = settings

    @cached_property
    def _plane(self) -> "ControlPlane":
        from certctl_adapters.control_plane import ControlPlane

        given = self.settings
        try:
            return ControlPlane(
                given.server_url, api_key=given.api_key, ca_bundle=given.trusted(), timeout=given.timeout
            )
        except Invalid as problem:
            raise SettingsError(problem.message, hint=problem.hint) from problem

    def ask(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any | None = None) -> Any:
        """What is answered: JSON, None for nothing, or text."""
        answer = self._plane.call(method, f"{API}{path}", query=query, body=body)
        if answer.status < 300 and answer.body and "json" not in answer.headers.get("content-type", "json"):
            return answer.body.decode(errors="replace")
        return self._plane.meaning(answer)

    def every(self, path: str, **query: Any) -> Any:
        """All pages of a list as one, by cursor where the list has cursors and by number where it has none."""
        query = {**query, "page": None, "per_page": MOST_ROWS, "cursor": None}
        told = self.get(path, **query)
        rows = list(told["data"])
        number = 1
        while told["data"] and (told.get("next_cursor") or len(rows) < told["total"]):
            number += 1
            more = {"cursor": told["next_cursor"]} if told.get("next_cursor") else {"page": number}
            told = self.get(path, **query | more)
            rows += told["data"]
        return {"data": rows, "total": max(len(rows), told["total"])}

    def pages(self, given: Namespace, path: str, **query: Any) -> Any:
        """The page that was asked for, or all of them."""
        return (
            self.every(path, **query)
            if given.all
            else self.get(path, **query, page=given.page, per_page=given.per_page)
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._plane.ask("GET", f"{API}{path}", query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._plane.ask("POST", f"{API}{path}", body=body or {})

    def delete(self, path: str, **query: Any) -> Any:
        return self._plane.ask("DELETE", f"{API}{path}", query=query)

    def stream(self, path: str, **query: Any) -> AbstractContextManager[Iterator[bytes]]:
        """The parts of a long answer, as they arrive."""
        return self._plane.stream(f"{API}{path}", query=query)

    def look(self, path: str) -> "Answer":
        """The answer at a path outside the API, whatever its status."""
        return self._plane.call("GET", path)

    def pinned_ca(self, fingerprint: str) -> str:
        """The server's own CA in PEM, if it has this fingerprint. Raises `Forbidden` when it has another one."""
        from certctl_adapters.pinning import pinned_ca

        digits = fingerprint.lower().removeprefix("sha256:").replace(":", "")
        if re.fullmatch(r"[0-9a-f]{64}", digits) is None:
            raise SettingsError("--ca-fingerprint must be sha256: and 64 hexadecimal digits")
        try:
            return pinned_ca(self.url, digits)
        except Invalid as problem:
            raise SettingsError(problem.message, hint=problem.hint) from problem

    def close(self) -> None:
        if "_plane" in vars(self):
            self._plane.close()
