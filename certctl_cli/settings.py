"""Where the control plane is and how it is spoken to: flags before environment before defaults.

The only module of the command line that reads the environment.
"""

import os
from argparse import Namespace
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from attrs import field, frozen

from certctl_core.errors import NotConfigured

DEFAULT_SERVER: Final = "https://localhost:8443"
FORMATS: Final = ("table", "json")
TIMEOUT: Final = timedelta(seconds=30)
_MAX_BUNDLE: Final = 1 << 20


class SettingsError(NotConfigured):
    """The settings lead nowhere. The message says which and why."""


@frozen(kw_only=True)
class Settings:
    """How one invocation speaks to the server, and how it prints. `ca_bundle` is a PEM file."""

    server_url: str = DEFAULT_SERVER
    api_key: str = field(default="", repr=False)
    ca_bundle: Path | None = None
    format: str = FORMATS[0]
    timeout: timedelta = TIMEOUT

    def trusted(self) -> bytes | None:
        """What is in the CA bundle, None without one. Raises `SettingsError`."""
        if self.ca_bundle is None:
            return None
        try:
            with self.ca_bundle.open("rb") as file:
                return file.read(_MAX_BUNDLE)
        except OSError as problem:
            raise SettingsError(
                f"cannot read the CA bundle {self.ca_bundle}: {problem.strerror}",
                hint="--ca-bundle or CERTCTL_SERVER_CA_BUNDLE_PATH names it.",
            ) from problem


def read(given: Namespace, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of one invocation. An empty variable counts as unset."""
    seen = os.environ if environment is None else environment

    def value(flag: str, variable: str) -> str:
        return str(getattr(given, flag, None) or seen.get(variable) or "").strip()

    bundle = value("ca_bundle", "CERTCTL_SERVER_CA_BUNDLE_PATH")
    return Settings(
        server_url=value("server", "CERTCTL_SERVER_URL") or DEFAULT_SERVER,
        api_key=value("api_key", "CERTCTL_API_KEY"),
        ca_bundle=Path(bundle) if bundle else None,
        format=getattr(given, "format", FORMATS[0]),
    )
