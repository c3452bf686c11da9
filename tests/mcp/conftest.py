"""A control plane over HTTPS, the MCP server before it, and the official client before that."""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent

from certctl_adapters.control_plane import ControlPlane
from certctl_core.models.access import Role
from certctl_mcp.server import Toolbox, serving
from tests.serving import Plane, control_plane
from tests.web.api import KEYS

T = TypeVar("T")
Doing = Callable[[Client], Awaitable[T]]


class Run(Protocol):
    """Connect a client and do something with it."""

    def __call__(self, doing: Doing[T], *, by: Role = ..., read_only: bool = ..., url: str = ...) -> T: ...


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with control_plane(tmp_path) as running:
        yield running


@pytest.fixture
def run(plane: Plane) -> Run:
    """Within this process; the server's calls to the control plane are real ones."""

    def connect(doing: Doing[T], *, by: Role = Role.ADMIN, read_only: bool = False, url: str = "") -> T:
        control = ControlPlane(url or plane.url, api_key=KEYS[by], ca_bundle=plane.ca_bundle.read_bytes())

        async def session() -> T | MCPError:
            async with Client(serving(Toolbox(control, read_only=read_only))) as client:
                try:
                    return await doing(client)
                except MCPError as problem:  # raised in here, it would come out in a group of one
                    return problem

        try:
            came = anyio.run(session)
        finally:
            control.close()
        if isinstance(came, MCPError):
            raise came
        return came

    return connect


def using(tool: str, /, **arguments: Any) -> Doing[CallToolResult]:
    """Call one tool."""

    async def use(client: Client) -> CallToolResult:
        return await client.call_tool(tool, arguments)

    return use


def words(result: CallToolResult) -> str:
    """The one text of a result."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def within_fence(result: CallToolResult) -> str:
    """What stands between the two lines that mark data."""
    found = re.search(
        r"^--- START certctl data ([0-9a-f]{32})\n(.*)\n--- END certctl data \1\Z",
        words(result),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None, words(result)
    return found[2]
