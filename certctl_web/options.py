"""What the application is told by whoever starts it. Nothing in it is read from the environment here."""

import ipaddress
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from attrs import field, frozen
from cryptography import x509

from certctl_core import __version__
from certctl_core.usecases.scep_doors import Doors
from certctl_web.est import EstLabels
from certctl_web.failures import Failures
from certctl_web.setting import NamedKey

if TYPE_CHECKING:
    from certctl_web.ocsp.desk import OcspDesk

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Rate:
    """A token bucket: `burst` requests at once, refilled at `per_second`."""

    per_second: float = 50.0
    burst: int = 100


AGENT_RATE: Final = Rate(20.0, 200)
"""An agent with a thousand certificates due at once must not be slowed by what people do."""


def _no_certificate() -> x509.Certificate | None:
    return None


@frozen(kw_only=True)
class Options:
    """`server_ca` gives the certificate that agents pin, the CA above the server's own TLS certificate; None when there
    is none of ours. `rate` is None when nothing is limited. `trusted_proxies` are the only peers whose
    X-Forwarded-For is believed. `key_changes_noticed` is how long a key that was revoked may go on working; 0 looks
    every key up for every request. `exports_per_hour` is for each caller, 0 for any number. `started_at` is when
    the application began to answer; its maker knows when none is given. `est` are the labels of EST that are served.
    `failures` remembers who has shown wrong credentials. `scep` are the doors of SCEP. `ocsp`
    answers OCSP from memory; without one the store is asked each time. `public_url` is another address of this server
    than the one it listens on, from which its own pages may come."""

    version: str = __version__
    auth_required: bool = True
    given_keys: tuple[NamedKey, ...] = field(default=(), repr=False)
    max_body_size: int = 1 << 20
    rate: Rate | None = field(factory=Rate)
    agent_rate: Rate = AGENT_RATE
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    server_ca: Callable[[], x509.Certificate | None] = _no_certificate
    hand_out: timedelta = timedelta(seconds=30)
    key_changes_noticed: timedelta = timedelta(0)
    record_calls: bool = True
    exports_per_hour: int = 50
    started_at: datetime | None = None
    scep: Doors = field(factory=Doors)
    est: EstLabels = field(factory=EstLabels)
    failures: Failures = field(factory=Failures)
    ocsp: "OcspDesk | None" = None
    public_url: str = ""
