"""Certificates that somebody uploads to be managed: hostile until shown otherwise, and kept as they are.

A sound key or an allowed lifetime is not asked for: what is in use out there has to be seen before it can be replaced.
What is refused is what could not be shown, stored or told from another certificate.
"""

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen
from cryptography import x509

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.pki import names, reading
from certctl_core.pki.reading import CertificateFacts
from certctl_core.pki.untrusted import capped, is_pem

MAX_UPLOAD_BYTES: Final = 262144
MOST_ABOVE: Final = 10
MAX_SERIAL_DIGITS: Final = 128
"""RFC 5280 section 4.1.2.2 allows 40 hexadecimal digits, and asks readers to bear more."""

_UNSHOWABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KEY: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


@frozen
class Upload:
    """A certificate, what it says, the certificates above it (nearest first), and the common name to manage it under.
    Whether it is one of an end entity is for the reader to ask (`facts.is_ca`)."""

    certificate: x509.Certificate
    facts: CertificateFacts
    above: tuple[x509.Certificate, ...]
    common_name: str


def read(pem: str) -> Upload:
    """The certificate a PEM text begins with, and what of the rest leads upwards from it, in any order.

    Raises `Unreadable`, `TooLarge`, and `Refused` for a text with a private key in it.
    """
    raw = capped(pem, "the upload", MAX_UPLOAD_BYTES)
    if _KEY.search(raw):
        raise Refused("there is a private key beside the certificate", hint="Send certificates only.")
    if not is_pem(raw):
        raise Unreadable("there is no certificate in PEM")
    leaf, *rest = reading.certificates(raw, limit=1 + MOST_ABOVE)
    facts = reading.facts(leaf)
    _must_be_sound(leaf, facts)
    return Upload(leaf, facts, reading.chain_above(leaf, rest), common_name_for(facts))


def _must_be_sound(leaf: x509.Certificate, facts: CertificateFacts) -> None:
    if any(isinstance(extension.value, x509.PrecertPoison) for extension in leaf.extensions):
        raise Unreadable("it is a precertificate (RFC 6962 section 3.1)", hint="Send the certificate issued for it.")
    if len(facts.serial_number) > MAX_SERIAL_DIGITS:
        raise Unreadable(f"the certificate has a serial number of more than {MAX_SERIAL_DIGITS} hexadecimal digits")
    if facts.not_after <= facts.not_before:
        raise Unreadable("the certificate ends before it begins")
    for index, san in enumerate(facts.sans):
        if _UNSHOWABLE.search(san):
            raise Unreadable(f"the certificate has control characters in its name {index + 1}")


def common_name_for(facts: CertificateFacts) -> str:
    """The common name if certctl could issue for it, or the first other name for which it could. Failing that, the
    common name as it can be shown, or the serial number."""
    for name in (facts.common_name, *facts.sans):
        if _is_issuable(name):
            return name
    return shown(facts.common_name)[: names.MAX_DNS] or f"serial-{facts.serial_number}"


def _is_issuable(name: str) -> bool:
    try:
        names.common_name(name)
    except Invalid:
        return False
    return True


def shown(text: str) -> str:
    """The text without what lists and terminals, which obey such characters, must not show."""
    return _UNSHOWABLE.sub("?", text).strip()


def is_of(leaf: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    """Whether one of these CAs signed it."""
    return any(reading.is_issued_by(leaf, authority) for authority in authorities)
