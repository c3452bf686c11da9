"""The listening socket, made before the process that serves it, so that a port in use is one clear error."""

import errno
import socket
import time
from typing import Final

from certctl_core.errors import NotConfigured
from certctl_web.setting import PREFIX

PATIENCE: Final = 10.0
"""Seconds. Processes of a server that was killed a moment ago may hold its port until they have noticed."""


def listen(host: str, port: int, patience: float = PATIENCE, *, names: str = "SERVER") -> socket.socket:
    """A listening socket that child processes may inherit. Raises `NotConfigured` when the address cannot be had;
    `names` is what the settings for it begin with."""
    end = time.monotonic() + patience
    while True:
        try:
            return _listen(host, port, names)
        except PortInUse:
            if time.monotonic() >= end:
                raise
            time.sleep(0.2)


class PortInUse(NotConfigured):
    """Somebody else listens there."""


def _listen(host: str, port: int, names: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise NotConfigured(
            f"cannot listen on {host}: {error.strerror}", hint=f"Correct {PREFIX}{names}_HOST."
        ) from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError as error:
        made.close()
        refusal = PortInUse if error.errno == errno.EADDRINUSE else NotConfigured
        raise refusal(f"cannot listen on {host} port {port}: {error.strerror}", hint=_advice(error, names)) from None
    made.set_inheritable(True)
    return made


def _advice(error: OSError, names: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Is certctl-server running already? Stop it, or set {PREFIX}{names}_PORT to a free port."
    if error.errno == errno.EACCES:
        return f"Ports below 1024 need privileges; set {PREFIX}{names}_PORT to a higher one."
    return f"Correct {PREFIX}{names}_HOST and {PREFIX}{names}_PORT."
