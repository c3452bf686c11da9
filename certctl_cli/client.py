"""The control plane as commands call it. The connection, and all that has to be imported for it, is made by the first
call."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from certctl_cli.settings import Settings, SettingsError
from certctl_core.errors import Invalid

if TYPE_CHECKING:
    from certctl_adapters.control_plane import ControlPlane
    from certctl_adapters.http import Answer

API = "/api/v1"


def one(collection: str, identity: str, *more: str) -> str:
    """The path of one object: `one("jobs", "job-1", "cancel")`."""
    return "/".join([f"/{collection}/{quote(identity, safe='')}", *more])


class Server:
    """Calls of the API, and answers as JSON. Each raises `Unreachable`, or what the server's refusal means."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.server_url
        self._settings = settings

    @cached_property
    def _plane(self) -> "ControlPlane":
        from certctl_adapters.control_plane import ControlPlane

        given = self._settings
        try:
            return ControlPlane(
                given.server_url, api_key=given.api_key, ca_bundle=given.trusted(), timeout=given.timeout
            )
        except Invalid as problem:
            raise SettingsError(problem.message, hint=problem.hint) from problem

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

    def close(self) -> None:
        if "_plane" in vars(self):
            self._plane.close()
