"""`certctl-agent`: joins a control plane, or runs until it is stopped."""

import json
import logging
import os
import signal
import ssl
import stat
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event

from certctl_adapters import targets
from certctl_adapters.commands import Commands
from certctl_adapters.files import FileInstaller
from certctl_adapters.host import Host
from certctl_adapters.http import HttpClient, trust, trust_nobody_checked
from certctl_adapters.pinning import pinned_ca
from certctl_adapters.prober import TlsProber
from certctl_adapters.tripwire import tripwire
from certctl_agent import client, logs, machine, settings
from certctl_agent.client import ControlPlane
from certctl_agent.keystore import KeyStore
from certctl_agent.loop import AgentLoop
from certctl_agent.settings import Joined, JoinSettings, RunSettings, SettingsError
from certctl_agent.work import Worker
from certctl_core import __version__
from certctl_core.errors import CertctlError, UpstreamUnavailable

log = logging.getLogger("certctl_agent")

_TLS_1_3 = ssl.TLSVersion.TLSv1_3
_WHOM_TO_BELIEVE = (
    "If it is the right server, say whom to believe: --ca-fingerprint as certctl-server token prints it, or, for a "
    "server with a certificate of another CA, --ca-bundle with that CA's file."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when stopped or retired, 1 on errors."""
    try:
        given = settings.read(sys.argv[1:] if arguments is None else arguments)
        if isinstance(given, JoinSettings):
            logs.set_up(given.log_level, given.name)
            return join(given)
        logs.set_up(given.log_level, given.name)
        return run(given)
    except CertctlError as problem:
        print(f"certctl-agent: {problem.message}", *filter(None, [problem.hint]), sep="\n", file=sys.stderr)
        return 1


def join(given: JoinSettings) -> int:
    """Exchange the token, and keep what `run` needs in the state folder. Raises before the token is used when that
    folder is of no use or holds an agent already."""
    if given.state.identity.exists():
        raise SettingsError(
            f"{given.state.folder} already holds a joined agent",
            hint="Run it with certctl-agent run, or choose another --state-dir.",
        )
    _make_state_folder(given.state)
    ca_bundle = given.ca_bundle
    if given.ca_fingerprint:
        ca_bundle = pinned_ca(given.server_url, given.ca_fingerprint).encode()
    http = HttpClient(given.server_url, tls=trust(ca_bundle, minimum=_TLS_1_3))
    try:
        agent_id, api_key = client.join(http, given.token, given.name, machine.describe(given.server_url))
    except UpstreamUnavailable as problem:
        raise SettingsError(problem.message, hint=_WHOM_TO_BELIEVE) from problem
    finally:
        http.close()
    identity = {"server_url": given.server_url, "agent_id": agent_id, "name": given.name}
    given.state.ca_bundle.unlink(missing_ok=True)  # of an unfinished join
    if ca_bundle is not None:
        _keep(given.state.ca_bundle, ca_bundle)
    _keep(given.state.api_key, f"{api_key}\n".encode())
    # Last: only with it is the machine joined.
    _keep(given.state.identity, json.dumps(identity, indent=2).encode())
    log.info("joined", extra={"agent_id": agent_id, "server": given.server_url})
    return 0


def run(given: RunSettings) -> int:
    """Until SIGTERM, SIGINT or retirement."""
    keys = KeyStore(given.key_dir)
    trip = tripwire(given.tripwire)
    host = Host(FileInstaller(keys.journals, trip), Commands(given.environment))
    tls = trust_nobody_checked(minimum=_TLS_1_3) if given.insecure else trust(given.ca_bundle, minimum=_TLS_1_3)
    headers = {"Authorization": f"Bearer {given.api_key}", "Content-Type": "application/json"}
    http = HttpClient(given.server_url, tls=tls, headers=headers)
    stopping = Event()
    control = ControlPlane(http, given.agent_id)
    worker = Worker(
        control=control,
        keys=keys,
        connect=partial(targets.connect, host=host),
        prober=TlsProber(),
        pause=lambda wait: stopping.wait(wait.total_seconds()),
        verify_timeout=given.verify_timeout,
        tripwire=trip,
    )
    loop = AgentLoop(
        control,
        worker,
        partial(machine.describe, given.server_url),
        stopping,
        heartbeat_interval=given.heartbeat_interval,
        poll_interval=given.poll_interval,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    log.info("started", extra={"agent_id": given.agent_id, "server": given.server_url, "version": __version__})
    if given.discovery_dirs:
        log.warning("discovery is not a part of this version: nothing looks at -discovery-dirs")
    _recover(host)
    ended = loop.run()
    http.close()
    log.info(ended.value)
    return 0


def _recover(host: Host) -> None:
    """Undo what a crash left half done. What cannot be undone now is tried again before the next deployment."""
    try:
        for path in host.files.recover():
            log.warning("put back after an interrupted deployment", extra={"path": str(path)})
    except CertctlError as problem:
        log.warning("an interrupted deployment could not be undone: %s", problem)


def _make_state_folder(state: Joined) -> None:
    """Raises `SettingsError` also where others could put another CA or key into it."""
    try:
        state.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(state.folder, os.W_OK | os.X_OK):
            raise SettingsError(f"no permission to write in {state.folder}", hint="Choose another --state-dir.")
        found = state.folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(
                f"others may write in {state.folder}", hint="Make it the agent's own, mode 0700, or choose another."
            )
    except OSError as problem:
        raise SettingsError(
            f"cannot make {state.folder}: {problem.strerror}", hint="Choose another --state-dir."
        ) from problem


def _keep(path: Path, content: bytes) -> None:
    """Write a file of ours, 0600 from its first byte; an unfinished join may have left one."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


if __name__ == "__main__":
    sys.exit(main())
