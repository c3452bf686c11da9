"""The server's own certificate, and the TLS context that follows the files it is in.

Without files of the operator's, a certificate from the control plane's CA lives in DATA_DIR/tls: `server.pem` holds key
and certificate together (0600), so that replacing it is one rename and a reader never sees a pair that does not match.
`ca.pem` beside it is what clients are given to trust. It is made again when a third of its life is left, when the
server gets another name, and when the CA is another one.
"""

import fcntl
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from attrs import frozen
from cryptography import x509

from certctl_core.errors import CertctlError, Invalid, NotConfigured
from certctl_core.pki import bundle, ca, keys, names, reading, serials
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from certctl_web.setting import PREFIX
from certctl_web.settings import Web

LIFE: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(minutes=5)
RETRY_UNREADABLE: Final = 1.0
"""Seconds before files that could not be used are tried again without having changed."""

log = structlog.get_logger(__name__)


@frozen
class Pair:
    """Where certificate chain and key are; the same file when it holds both."""

    certificate: Path
    key: Path


def own_pair(data_dir: Path) -> Pair:
    """The pair that certctl makes for itself."""
    file = data_dir / "tls" / "server.pem"
    return Pair(file, file)


def server_names(web: Web) -> tuple[x509.GeneralName, ...]:
    """Every name under which clients may reach this server, as far as it can know."""
    wanted = ["localhost", "127.0.0.1", "::1", socket.gethostname(), web.host, urlsplit(web.public_url).hostname or ""]
    known: dict[str, x509.GeneralName] = {}
    for text in wanted:
        if text in ("", "0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
            continue
        try:
            name = names.general_name(text.lower())
        except Invalid:
            continue  # A host name that no certificate can carry, such as one with an underscore at its end.
        known[names.canonical(name)] = name
    return tuple(known.values())


def ensure(data_dir: Path, authority: Authority, wanted: tuple[x509.GeneralName, ...], now: datetime) -> bool:
    """See to it that a good certificate is there. Returns whether one was made. Any number of processes may ask."""
    pair = own_pair(data_dir)
    folder = pair.certificate.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        if _is_good(pair.certificate, authority, wanted, now):
            return False
        plan = LeafPlan(
            common_name="",
            sans=wanted,
            public_key=(private_key := keys.generate(KeyKind.ECDSA_P256)).public_key(),
            serial_number=serials.new_serial(),
            not_before=(now - BACKDATED).replace(microsecond=0),
            not_after=min(now + LIFE, authority.certificate.not_valid_after_utc).replace(microsecond=0),
        )
        chain = (ca.sign_leaf(authority, plan), *authority.chain[:-1])
        _replace(folder / "ca.pem", bundle.to_pem(authority.chain[-1]).encode(), 0o644)
        _replace(pair.certificate, (keys.to_pem(private_key) + bundle.to_pem(*chain)).encode(), 0o600)
    log.info("server certificate made", not_after=plan.not_after.isoformat(), names=[names.text_of(n) for n in wanted])
    return True


def _is_good(file: Path, authority: Authority, wanted: tuple[x509.GeneralName, ...], now: datetime) -> bool:
    try:
        pem = file.read_bytes()
        leaf = reading.certificates(_certificates_only(pem))[0]
        return (
            keys.same_key(leaf, keys.from_pem(pem))
            and reading.is_issued_by(leaf, authority.certificate)
            and names.same_names(reading.general_names(leaf), wanted)
            and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - RENEW_BEFORE
        )
    except (OSError, CertctlError):
        return False


def _certificates_only(pem: bytes) -> bytes:
    return pem[max(pem.find(b"-----BEGIN CERTIFICATE-----"), 0) :]


def _replace(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@frozen
class Clients:
    """What is asked of clients. `authorities` gives the CAs of whose certificates they may show one; while there are
    none, none is asked for, and nobody's browser is bothered. A certificate of another CA ends the handshake: OpenSSL
    asks nobody else. `tls_1_2` is for old devices, of which the ciphers below are the ones worth speaking to."""

    authorities: Callable[[], tuple[x509.Certificate, ...]] = tuple
    tls_1_2: bool = False


NOTHING: Final = Clients()
_CIPHERS_OF_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerContext:
    """A TLS server context that is made anew when its files change, or what it asks of clients. TLS is 1.3, unless
    `clients` says otherwise.

    New connections get the new certificate, open ones keep theirs. Files that do not make a pair (half of a renewal is
    written, a key is for another certificate) leave the old context in use and are tried again a second later.
    """

    def __init__(self, pair: Pair, clients: Clients = NOTHING) -> None:
        """Raises `NotConfigured` when the files cannot be used at all."""
        self._pair = pair
        self._clients = clients
        self._lock = threading.Lock()
        self._not_before = 0.0
        try:
            self._stamp = self._look()
            self._context = _load(pair, clients.tls_1_2, self._stamp.authorities)
        except OSError as error:
            raise NotConfigured(
                f"the server certificate cannot be used: {pair.certificate}, {pair.key}: {_reason(error)}",
                hint=f"Correct {PREFIX}SERVER_TLS_CERT_PATH and {PREFIX}SERVER_TLS_KEY_PATH, or leave both empty.",
            ) from error

    def current(self) -> ssl.SSLContext:
        """The context for a connection that has just been accepted. Costs two `stat` calls when nothing changed."""
        try:
            stamp = self._look()
        except OSError as error:
            self._complain(error)
            return self._context
        if stamp == self._stamp:
            return self._context
        with self._lock:
            if stamp != self._stamp and time.monotonic() >= self._not_before:
                self._reload(stamp)
        return self._context

    def _reload(self, stamp: "_Stamp") -> None:
        try:
            self._context, self._stamp = _load(self._pair, self._clients.tls_1_2, stamp.authorities), stamp
            log.info("server certificate reloaded", file=str(self._pair.certificate))
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if time.monotonic() >= self._not_before:
            log.warning("server certificate cannot be used; keeping the old one", error=_reason(error))
        self._not_before = time.monotonic() + RETRY_UNREADABLE

    def _look(self) -> "_Stamp":
        found = (path.stat() for path in (self._pair.certificate, self._pair.key))
        files = tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
        return _Stamp(files, self._clients.authorities())


@frozen
class _Stamp:
    """What a context was made of."""

    files: tuple[tuple[int, ...], ...]
    authorities: tuple[x509.Certificate, ...]


def _load(pair: Pair, tls_1_2: bool, authorities: tuple[x509.Certificate, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if tls_1_2 else ssl.TLSVersion.TLSv1_3
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    if authorities:
        context.load_verify_locations(cadata=bundle.to_pem(*authorities))
        context.verify_mode = ssl.CERT_OPTIONAL
        # An intermediate may be trusted without the root above it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        mismatch = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        return "the key is not that of the certificate" if mismatch else str(error.args[-1])
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _no_password() -> str:
    # Without this an encrypted key makes OpenSSL ask on the terminal, which a server does not have.
    raise ssl.SSLError("the key is encrypted; give the server an unencrypted one that only it can read")
