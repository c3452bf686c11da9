"""Where the control plane is and how it is spoken to: flags before environment before the stored profile.

The only module of the command line that reads the environment.
"""

import os
from argparse import Namespace
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from attrs import field, frozen

from certctl_cli import profiles
from certctl_cli.profiles import SettingsError

DEFAULT_SERVER: Final = "https://localhost:8443"
FORMATS: Final = ("table", "json", "yaml", "csv")
TIMEOUT: Final = timedelta(seconds=30)
_MAX_BUNDLE: Final = 1 << 20


@frozen(kw_only=True)
class Settings:
    """How one invocation speaks to the server, and how it prints. `ca_bundle` is a PEM file, `ca_pem` what a profile
    holds of one; `query` is JMESPath."""

    server_url: str = DEFAULT_SERVER
    api_key: str = field(default="", repr=False)
    ca_bundle: Path | None = None
    ca_pem: str = field(default="", repr=False)
    format: str = FORMATS[0]
    query: str = ""
    profile: str = profiles.DEFAULT
    profile_file: Path = Path()
    timeout: timedelta = TIMEOUT

    def trusted(self) -> bytes | None:
        """What is in the CA bundle, None without one. Raises `SettingsError`."""
        if self.ca_bundle is None:
            return self.ca_pem.encode() or None
        try:
            with self.ca_bundle.open("rb") as file:
                return file.read(_MAX_BUNDLE)
        except OSError as problem:
            raise SettingsError(
                f"cannot read the CA bundle {self.ca_bundle}: {problem.strerror}",
                hint="--ca-bundle or CERTCTL_SERVER_CA_BUNDLE_PATH names it.",
            ) from problem


def read(given: Namespace, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of one invocation: flags, then variables, then the profile that `certctl login` stored. An empty
    variable counts as unset."""
    seen = os.environ if environment is None else environment

    def value(flag: str, variable: str) -> str:
        return str(getattr(given, flag, None) or seen.get(variable) or "").strip()

    wanted = value("profile", "CERTCTL_PROFILE")
    stored = profiles.load(profile_file(seen), wanted, may_be_new=getattr(given, "may_be_new", False))
    bundle = value("ca_bundle", "CERTCTL_SERVER_CA_BUNDLE_PATH")
    server_url = value("server", "CERTCTL_SERVER_URL")
    # A key is for the server it was given for and no other.
    of_profile = stored if stored and server_url in ("", stored.server_url) else None
    return Settings(
        server_url=server_url or (of_profile.server_url if of_profile else DEFAULT_SERVER),
        api_key=value("api_key", "CERTCTL_API_KEY") or (of_profile.api_key if of_profile else ""),
        ca_bundle=Path(bundle) if bundle else None,
        ca_pem=of_profile.ca_pem if of_profile and not bundle else "",
        format=getattr(given, "format", None) or FORMATS[0],
        query=getattr(given, "query", None) or "",
        profile=wanted or profiles.DEFAULT,
        profile_file=profile_file(seen),
    )


def profile_file(environment: Mapping[str, str]) -> Path:
    """Where `certctl login` keeps addresses and keys."""
    home = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(home) if home.startswith("/") else Path(environment.get("HOME") or "~").expanduser() / ".config"
    return folder / "certctl" / "profiles.json"


def is_completing() -> bool:
    """Whether a shell asks what could be typed next."""
    return "_ARGCOMPLETE" in os.environ
