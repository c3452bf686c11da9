"""Cryptographic Message Syntax (RFC 5652): signed messages, envelopes, and certificates handed over in bulk.

    signed       SignedData with signed attributes, read and written, and the degenerate form
    enveloped    EnvelopedData to RSA keys, closed and opened
    algorithms   the names of hashes and ciphers, and which are accepted
    structures   the ASN.1
    ber          what senders of BER do, put right

No other package knows these bytes. Messages are hostile until they are verified: they are capped before they are
parsed, and their readers raise `TooLarge`, `Unreadable` and `Refused` only.
"""

from certctl_core.pki.cms.algorithms import MODERN, Accepted, Cipher, Digest
from certctl_core.pki.cms.enveloped import CLOSED, Opened, Recipient, envelop, must_be_recipient, open_envelope
from certctl_core.pki.cms.signed import Signed, Signer, Unverified, degenerate, parse_signed, read_signed, sign
from certctl_core.pki.cms.structures import SIGNED_DATA, content_of

__all__ = [
    "CLOSED",
    "MODERN",
    "SIGNED_DATA",
    "Accepted",
    "Cipher",
    "Digest",
    "Opened",
    "Recipient",
    "Signed",
    "Signer",
    "Unverified",
    "content_of",
    "degenerate",
    "envelop",
    "must_be_recipient",
    "open_envelope",
    "parse_signed",
    "read_signed",
    "sign",
]
