"""`python -m certctl_mcp`: serves MCP over stdin and stdout until they are closed."""

import sys
from collections.abc import Sequence

from certctl_core.errors import CertctlError
from certctl_mcp import settings
from certctl_mcp.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when stdin was closed, 1 when the settings lead nowhere."""
    try:
        serve(settings.read(arguments))
    except CertctlError as problem:
        return _end(*filter(None, [problem.message, problem.hint]))
    except ModuleNotFoundError as problem:
        return _end(f"{problem.name} is not installed; pip install 'certctl[mcp]' does")
    except KeyboardInterrupt:
        return 130
    return 0


def serve(given: Settings) -> None:
    """Until stdin is closed. Raises `Invalid` for a URL or a CA bundle that is none."""
    import anyio
    from mcp.server.stdio import stdio_server

    from certctl_adapters.control_plane import ControlPlane
    from certctl_mcp.server import Toolbox, serving

    plane = ControlPlane(given.server_url, api_key=given.api_key, ca_bundle=given.ca_bundle)
    server = serving(Toolbox(plane, read_only=given.read_only))

    async def run() -> None:
        async with stdio_server() as (receiving, sending):
            await server.run(receiving, sending, server.create_initialization_options())

    try:
        anyio.run(run)
    finally:
        plane.close()


def _end(*lines: str) -> int:
    sys.stderr.write(f"certctl_mcp: {chr(10).join(lines)}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
