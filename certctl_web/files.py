"""Certificates and keys that the operator keeps in files, read anew when the files change."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from cryptography import x509

from certctl_core.errors import CertctlError, NotConfigured
from certctl_core.pki import keys, reading
from certctl_core.usecases.delegates import Opened

T = TypeVar("T")

MAX_BYTES: Final = reading.MAX_BUNDLE_BYTES


class Watched(Generic[T]):
    """What is made of the content of files. Calling it looks whether they have changed; content that makes nothing
    leaves what was made before in use, and raises when there is nothing before."""

    def __init__(self, make: Callable[[Sequence[bytes]], T], *paths: Path) -> None:
        self._make = make
        self._paths = paths
        self._lock = threading.Lock()
        self._seen: tuple[tuple[int, int], ...] = ()
        self._made: T | None = None

    def __call__(self) -> T:
        try:
            found = tuple((one.stat().st_mtime_ns, one.stat().st_size) for one in self._paths)
        except OSError:
            found = ()
        with self._lock:
            made, is_same = self._made, found == self._seen
        if made is not None and is_same:
            return made
        try:
            return self.reload()
        except NotConfigured:
            if made is None:
                raise
            return made

    def reload(self) -> T:
        """Read the files now. Raises `NotConfigured` naming the one that cannot be used."""
        found, contents = [], []
        for path in self._paths:
            try:
                stat, content = path.stat(), _read(path)
            except OSError as problem:
                raise NotConfigured(f"{path} cannot be read: {problem.strerror}") from problem
            found.append((stat.st_mtime_ns, stat.st_size))
            contents.append(content)
        try:
            made = self._make(contents)
        except CertctlError as problem:
            names = " and ".join(map(str, self._paths))
            raise NotConfigured(f"{names} cannot be used: {problem.message}", hint=problem.hint) from problem
        with self._lock:
            self._seen, self._made = tuple(found), made
        return made


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NotConfigured(f"{path} cannot be used: it is over {MAX_BYTES} bytes")
    return data


def bundle(path: Path) -> Watched[tuple[x509.Certificate, ...]]:
    """Certificates that are trusted."""
    return Watched(lambda contents: reading.certificates(contents[0]), path)


def pair(certificate: Path, key: Path) -> Watched[Opened]:
    """A certificate, what is above it, and its key."""

    def make(contents: Sequence[bytes]) -> Opened:
        first, *above = reading.certificates(contents[0])
        private_key = keys.from_pem(contents[1])
        if not keys.same_key(first, private_key):
            raise NotConfigured("the key is not that of the certificate")
        return Opened(first, tuple(above), private_key)

    return Watched(make, certificate, key)
