"""How serial numbers stand, a hundred thousand of them in a few megabytes.

A hash table in one array of bytes, with open addressing: a Python object for each serial number would take five times
as much. A slot is

    serial number (20)  authority (1)  status (1)  notAfter (5)  revokedAt (5)

Times are whole seconds. A serial number is random, so its low bits are its hash; nobody who asks puts anything in.
"""

from datetime import UTC, datetime
from typing import Final

from certctl_core.models.certificates import RevocationReason
from certctl_core.models.standings import Standing

_SERIAL: Final = 20
_SLOT: Final = 32
_FIRST: Final = 1024
_FREE: Final = 0
_GOOD: Final = 1
_REVOKED: Final = 2
"""And above: the reasons."""

_REASONS: Final = tuple(RevocationReason)
_NUMBERS: Final = {reason: _REVOKED + number for number, reason in enumerate(_REASONS)}


class Register:
    """Standings by serial number. Ends of certificates and revocations lose their fraction of a second."""

    def __init__(self) -> None:
        self._slots = bytearray(_FIRST * _SLOT)
        self._capacity = _FIRST
        self._authorities: list[str] = []
        self.count = 0

    def put(self, standing: Standing) -> bool:
        """Remember it, over what was known of the same serial number. Returns whether there was room for it: one that
        X.509 has no room for (RFC 5280 section 4.1.2.2) is looked up each time."""
        number = int(standing.serial_number, 16)
        if number.bit_length() > 8 * _SERIAL:
            return False
        if self.count * 4 >= self._capacity * 3:
            self._grow()
        self._write(number, self._encode(standing))
        return True

    def revoke(self, standing: Standing) -> None:
        """As `put`, for a standing that does not say which CA gave the serial number: that stays as it is."""
        known = self.get(standing.serial_number)
        authority = known.authority if known else standing.authority
        self.put(Standing(standing.serial_number, authority, standing.not_after, standing.revoked_at, standing.reason))

    def get(self, serial_number: str) -> Standing | None:
        """None for what is not remembered, which says nothing about whether it was given."""
        number = int(serial_number, 16)
        if number.bit_length() > 8 * _SERIAL:
            return None
        at = self._find(number.to_bytes(_SERIAL, "big"), number)
        slots = self._slots
        status = slots[at + 21]
        if status == _FREE:
            return None
        authority, not_after = self._authorities[slots[at + 20]], _read_time(slots[at + 22 : at + 27])
        if status == _GOOD:
            return Standing(serial_number, authority, not_after)
        revoked_at = _read_time(slots[at + 27 : at + 32])
        return Standing(serial_number, authority, not_after, revoked_at, _REASONS[status - _REVOKED])

    def serial_numbers(self, start: int, end: int) -> list[str]:
        """Of the slots with these numbers, those that are good and taken."""
        slots, places = self._slots, range(start * _SLOT, min(end, self._capacity) * _SLOT, _SLOT)
        good = [at for at in places if slots[at + 21] == _GOOD]
        return [f"{int.from_bytes(slots[at : at + _SERIAL], 'big'):x}" for at in good]

    @property
    def slots(self) -> int:
        """How many slots there are, taken or not."""
        return self._capacity

    def _encode(self, standing: Standing) -> bytes:
        """The slot behind the serial number."""
        if standing.authority not in self._authorities:
            self._authorities.append(standing.authority)
        head = bytes((self._authorities.index(standing.authority), _status(standing)))
        return head + _write_time(standing.not_after) + _write_time(standing.revoked_at)

    def _write(self, number: int, rest: bytes) -> None:
        serial = number.to_bytes(_SERIAL, "big")
        at = self._find(serial, number)
        self.count += self._slots[at + 21] == _FREE
        self._slots[at : at + _SLOT] = serial + rest

    def _find(self, serial: bytes, number: int) -> int:
        """Where the slot of a serial number is, or the free one that would be."""
        slots, capacity = self._slots, self._capacity
        index = number % capacity
        while True:
            at = index * _SLOT
            if slots[at + 21] == _FREE or slots[at : at + _SERIAL] == serial:
                return at
            index = index + 1 if index + 1 < capacity else 0

    def _grow(self) -> None:
        old = self._slots
        self._capacity = self._capacity * 7 // 4
        self._slots = bytearray(self._capacity * _SLOT)
        self.count = 0
        for at in range(0, len(old), _SLOT):
            if old[at + 21] != _FREE:
                self._write(int.from_bytes(old[at : at + _SERIAL], "big"), bytes(old[at + _SERIAL : at + _SLOT]))


def _status(standing: Standing) -> int:
    if standing.revoked_at is None:
        return _GOOD
    return _NUMBERS[standing.reason or RevocationReason.UNSPECIFIED]


def _write_time(at: datetime | None) -> bytes:
    return int(at.timestamp()).to_bytes(5, "big") if at else bytes(5)


def _read_time(octets: bytearray) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(octets, "big"), UTC)
