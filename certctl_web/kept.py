"""What is published and large, kept by a process in files without a name: read once, sent from there in parts."""

import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from attrs import field, frozen

from certctl_core.models.crls import StoredCrl

PART: Final = 1 << 16


@frozen
class Kept:
    """A CRL in a file, which is gone when nobody refers to it any more."""

    crl: StoredCrl
    _file: Any = field(repr=False)

    @property
    def digest(self) -> str:
        return self.crl.digest

    @property
    def size(self) -> int:
        return self.crl.size

    def read(self, first: int, end: int) -> Iterator[bytes]:
        """The octets from `first` on and before `end`. Any number of readers may be at it."""
        while first < end:
            part = os.pread(self._file.fileno(), min(PART, end - first), first)
            if not part:
                return
            yield part
            first += len(part)


class KeptFiles:
    """The last few that were asked for. Several that ask for the same one at once have it read once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Kept] = OrderedDict()
        self._reading: dict[str, threading.Lock] = {}

    def get(self, crl: StoredCrl, read: Callable[[], Iterable[bytes]]) -> Kept | None:
        """The CRL, read when it is not there; None when there was not all of it to be read."""
        if (kept := self._known(crl.digest)) is not None:
            return kept
        with self._lock:
            mine = self._reading.setdefault(crl.digest, threading.Lock())
        with mine:
            try:
                return self._known(crl.digest) or self._read(crl, read)
            finally:
                with self._lock:
                    self._reading.pop(crl.digest, None)

    def _known(self, digest: str) -> Kept | None:
        with self._lock:
            if digest in self._found:
                self._found.move_to_end(digest)
            return self._found.get(digest)

    def _read(self, crl: StoredCrl, read: Callable[[], Iterable[bytes]]) -> Kept | None:
        file = tempfile.TemporaryFile(prefix="certctl-crl-", buffering=0)  # noqa: SIM115 - it lives as long as `Kept`
        size = sum(file.write(part) for part in read())
        if size != crl.size:
            file.close()
            return None
        kept = Kept(crl, file)
        weakref.finalize(kept, file.close)
        with self._lock:
            self._found[crl.digest] = kept
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return kept
