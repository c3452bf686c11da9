"""What an enrolled certificate is called, which names it has, and for how long asking again is answered with it."""

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.enrolment import ENROLLED, EnrolmentProtocol
from certctl_core.pki import names

REMEMBERED: Final = timedelta(hours=1)
"""For how long after it ended a device that asks the same again is answered with what came of it. An answer may have
been lost; a device that asks an hour later wants another certificate."""

SOON: Final = timedelta(seconds=5)
LATER: Final = timedelta(minutes=5)
LATEST: Final = timedelta(hours=1)
_LONGEST_NAME: Final = 220
_DIGITS: Final = 10


def names_of(certificate: ManagedCertificate) -> tuple[x509.GeneralName, ...]:
    """Every name that is to be in the certificate's SAN. Raises `Invalid`."""
    is_enrolled = certificate.source in ENROLLED
    return names.names_of(certificate.common_name, certificate.sans, is_enrolled=is_enrolled)


def called(protocol: EnrolmentProtocol, common_name: str, sans: tuple[str, ...], key_sha256: str) -> str:
    """The name in the inventory of what a device enrols for. Two devices may have one common name; with the beginning
    of the key's digest each is told from the other."""
    shown = (common_name or sans[0])[:_LONGEST_NAME]
    return f"{shown} ({protocol.value} {key_sha256[:_DIGITS]})"


def look_again(at: datetime | None, now: datetime) -> timedelta:
    """How long a device should wait before it asks again, when something is to happen at a time, or at any time."""
    return LATER if at is None else min(max(at - now, SOON), LATEST)
