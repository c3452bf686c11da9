"""`certctl login`, `logout`, `logins` and `completion`."""

import getpass
import sys
from argparse import Namespace
from typing import Final

from attrs import evolve

from certctl_cli import profiles
from certctl_cli.client import Server
from certctl_cli.command import Command, Result, Table, Text, argument
from certctl_cli.profiles import Profile, SettingsError
from certctl_cli.wording import flag

_LONGEST_KEY: Final = 512
SHELLS: Final = ("bash", "zsh", "fish")


def login(server: Server, given: Namespace) -> Result:
    """Store the server's address and a key, after the server has said that it is one."""
    wanted = server.settings
    if given.ca_fingerprint:
        wanted = evolve(wanted, ca_bundle=None, ca_pem=server.pinned_ca(given.ca_fingerprint))
    # Whoever logs in has a key in hand: the one stored before is not it.
    key = getattr(given, "api_key", None) or _ask_key(wanted.server_url)
    trying = Server(evolve(wanted, api_key=key))
    try:
        known = trying.get("/auth/check")
    finally:
        trying.close()
    trusted = wanted.trusted()
    profile = Profile(server_url=wanted.server_url, api_key=key, ca_pem=trusted.decode() if trusted else "")
    profiles.store(wanted.profile_file, wanted.profile, profile)
    words = f"Logged in to {wanted.server_url} as {known.get('user')} ({known.get('role')})."
    told = {"status": "logged_in", "server": wanted.server_url, "profile": wanted.profile, "user": known.get("user")}
    return Result(data=told, views=(Text(words),), notes=(f"Stored in {wanted.profile_file}.",))


def _ask_key(url: str) -> str:
    if sys.stdin.isatty():
        key = getpass.getpass(f"API key for {url}: ")
    else:
        key = sys.stdin.readline(_LONGEST_KEY + 1)
    if not key.strip() or len(key) > _LONGEST_KEY:
        raise SettingsError("no API key was given", hint="Type it, pipe it into certctl login, or give --api-key.")
    return key.strip()


def logout(server: Server, _given: Namespace) -> Result:
    settings = server.settings
    if not profiles.forget(settings.profile_file, settings.profile):
        raise SettingsError(f"there is no profile {settings.profile!r}", hint="certctl logins lists those there are.")
    words = f"Profile {settings.profile} removed. The key itself still works: certctl api-keys revoke ends it."
    return Result(data={"status": "logged_out", "profile": settings.profile}, views=(Text(words),))


def listing(server: Server, _given: Namespace) -> Result:
    known = profiles.everything(server.settings.profile_file)
    rows = [
        (name, profile.server_url, "its own" if profile.ca_pem else "this machine's") for name, profile in known.items()
    ]
    data = [{"name": name, "server": url, "ca": trust} for name, url, trust in rows]
    view = Table(("PROFILE", "SERVER", "CAS"), rows) if rows else Text("None. certctl login stores one.")
    return Result(data=data, views=(view,))


def completion(_server: Server, given: Namespace) -> Result:
    from argcomplete.shell_integration import shellcode

    code = shellcode(["certctl"], shell=given.shell)
    return Result(data={"shell": given.shell, "code": code}, views=(Text(code),))


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="login",
        help="store a server's address and an API key for the commands that follow",
        run=login,
        arguments=(flag("ca-fingerprint", "sha256:HEX of the server's own CA, which is then believed"),),
        covers=("check_auth",),
        may_be_new=True,
    ),
    Command(name="logout", help="forget a stored address and key", run=logout, may_be_new=True),
    Command(name="logins", help="list what login has stored", run=listing),
    Command(
        name="completion",
        help='print what makes a shell complete commands: eval "$(certctl completion bash)"',
        run=completion,
        arguments=(argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}"),),
    ),
)
