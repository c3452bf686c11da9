"""The labels of EST, and the CAs that they trust, read anew when their files change.

Each process has its own; a file is looked at when it is needed, once a second at most, so that all of them follow a
change by themselves. A file that cannot be used any more leaves what was in it before, and says so in the log: a device
must not be locked out by half of a copy.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog
from attrs import define, evolve, field, frozen
from cryptography import x509

from certctl_core.errors import CertctlError, Conflict, NotConfigured, NotFound
from certctl_core.pki import reading
from certctl_core.ports import Ports
from certctl_core.usecases import est
from certctl_core.usecases.est import Label, Method

DEFAULT: Final = "default"
LOOK_AGAIN: Final = 1.0
"""Seconds for which what was read of a file is taken for what is in it."""

log = structlog.get_logger(__name__)


def read_bundle(path: Path) -> tuple[x509.Certificate, ...]:
    """The CA certificates in a PEM file. Raises `NotConfigured` naming it."""
    try:
        with path.open("rb") as file:
            found = reading.certificates(file.read(reading.MAX_BUNDLE_BYTES + 1))
    except OSError as problem:
        raise NotConfigured(f"the trust bundle {path} cannot be read: {problem.strerror}") from problem
    except CertctlError as problem:
        raise NotConfigured(f"the trust bundle {path} holds no certificates: {problem.message}") from problem
    if strangers := [one for one in found if not reading.facts(one).is_ca]:
        subject = strangers[0].subject.rfc4514_string()
        raise NotConfigured(f"the trust bundle {path} holds a certificate that is no CA's: {subject}")
    return found


@define
class TrustFile:
    """A file of CA certificates."""

    path: Path
    clock: Callable[[], float] = time.monotonic
    _known: tuple[x509.Certificate, ...] = field(init=False)
    _stamp: tuple[int, ...] = field(init=False)
    _until: float = field(init=False)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        """Raises `NotConfigured`."""
        self._stamp = self._look()
        self._known = read_bundle(self.path)
        self._until = self.clock() + LOOK_AGAIN

    def certificates(self) -> tuple[x509.Certificate, ...]:
        if self.clock() >= self._until:
            with self._lock:
                self._until = self.clock() + LOOK_AGAIN
                self._follow()
        return self._known

    def reload(self) -> None:
        """Raises `NotConfigured`; then what was known before stays."""
        found = read_bundle(self.path)
        self._known, self._stamp = found, self._look()

    def _follow(self) -> None:
        if (stamp := self._look()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = read_bundle(self.path)
            log.info("trust bundle reloaded", file=str(self.path), certificates=len(self._known))
        except NotConfigured as problem:
            log.warning("trust bundle cannot be used; keeping what was in it", error=problem.message)

    def _look(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


@frozen
class Kept:
    """A label and the file of the CAs that it trusts, if it has one."""

    label: Label
    trust: TrustFile | None = None

    def now(self) -> Label:
        return self.label if self.trust is None else evolve(self.label, trusted=self.trust.certificates())


@frozen
class EstLabels:
    """The labels by name; the one without a name is at the protocol's own paths."""

    by_name: Mapping[str, Kept] = field(factory=dict)

    @classmethod
    def of(cls, kept: Iterable[Kept]) -> "EstLabels":
        return cls({one.label.name: one for one in kept})

    def find(self, name: str) -> Label:
        """Raises `NotFound`. `default` is another word for no label, where no label is called so."""
        return self._kept("" if name == DEFAULT and DEFAULT not in self.by_name else name).now()

    def _kept(self, name: str) -> Kept:
        if name not in self.by_name:
            what = f"the EST label {name!r}" if name else "EST without a label"
            raise NotFound(
                f"{what} is not served here", hint="CERTCTL_EST_ENABLED and CERTCTL_EST_PROFILES say what is."
            )
        return self.by_name[name]

    def reload(self, name: str) -> Label:
        """Read the label's bundle anew. Raises `NotFound`, `NotConfigured`, and `Conflict` when it has none."""
        kept = self._kept(name)
        if kept.trust is None:
            raise Conflict(f"the EST label {name!r} has no trust bundle", hint="It is set by ...TRUST_BUNDLE_PATH.")
        kept.trust.reload()
        return kept.now()

    @property
    def by_certificate(self) -> tuple[Kept, ...]:
        """Those that have a use for TLS client certificates."""
        return tuple(one for one in self.by_name.values() if Method.MTLS in one.label.methods)


@define
class ClientCas:
    """The CAs of whose certificates a TLS client may show one: those that labels trust, and those of the labels'
    issuers, whose certificates can be renewed. What issuers have is asked for now and then (`refresh`). `others` are
    those that other protocols trust."""

    ports: Ports
    labels: EstLabels
    others: Callable[[], Iterable[x509.Certificate]] = tuple
    _own: tuple[x509.Certificate, ...] = ()

    def certificates(self) -> tuple[x509.Certificate, ...]:
        trusted = (one for kept in self.labels.by_certificate for one in kept.now().trusted)
        return tuple(dict.fromkeys((*self._own, *trusted, *self.others())))

    def refresh(self) -> None:
        found: dict[x509.Certificate, None] = dict.fromkeys(self._own)
        for kept in self.labels.by_certificate:
            try:
                found |= dict.fromkeys(est.ca_certificates(self.ports, kept.label))
            except CertctlError as problem:
                log.warning("the CAs of an EST label are not known", label=kept.label.name, error=str(problem))
        self._own = tuple(found)
