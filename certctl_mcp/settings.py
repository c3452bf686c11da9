"""Where the control plane is, and what may be done there. The only module of the program that reads the environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from certctl_core.errors import NotConfigured

_DEFAULT_SERVER: Final = "https://localhost:8443"
_MAX_BUNDLE: Final = 1 << 20
_DESCRIPTION: Final = "Offers the operations of a certctl control plane to a language model, as MCP tools over stdio."
_EPILOG: Final = """\
environment:
  CERTCTL_SERVER_URL             the control plane; default: https://localhost:8443
  CERTCTL_API_KEY                what the tools may do is what this key may do
  CERTCTL_SERVER_CA_BUNDLE_PATH  PEM file of the CAs to believe; default: those of this machine
"""


class SettingsError(NotConfigured):
    """The settings lead nowhere. The message says which and why."""


@frozen(kw_only=True)
class Settings:
    """`ca_bundle` is PEM, None for the CAs of this machine."""

    server_url: str
    api_key: str = field(default="", repr=False)
    ca_bundle: bytes | None = None
    read_only: bool = False


def read(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Raises `SettingsError`; exits for `--help` and what does not exist, as argparse does."""
    seen = os.environ if environment is None else environment
    given = _parser().parse_args(arguments)
    bundle = seen.get("CERTCTL_SERVER_CA_BUNDLE_PATH", "").strip()
    return Settings(
        server_url=seen.get("CERTCTL_SERVER_URL", "").strip() or _DEFAULT_SERVER,
        api_key=seen.get("CERTCTL_API_KEY", "").strip(),
        ca_bundle=_content(Path(bundle)) if bundle else None,
        read_only=given.read_only,
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BUNDLE)
    except OSError as problem:
        raise SettingsError(
            f"cannot read the CA bundle {path}: {problem.strerror}", hint="CERTCTL_SERVER_CA_BUNDLE_PATH names it."
        ) from problem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m certctl_mcp",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--read-only", action="store_true", help="offer only tools that change nothing")
    return parser
