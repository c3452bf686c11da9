"""Whatever is sent, readers are capped and answer with errors of ours."""

import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import TooLarge, Unreadable
from certctl_core.pki import asn1, ca, keys, reading
from certctl_core.pki.untrusted import capped, parsing
from tests import plans


def test_input_over_its_cap_is_refused_by_name() -> None:
    assert capped("1234", "the thing", 4) == b"1234"
    with pytest.raises(TooLarge, match="the thing is over 4 bytes"):
        capped(b"12345", "the thing", 4)


def test_text_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(Unreadable):
        capped("ü", "the thing", 4)


def test_errors_that_are_no_parsers_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), parsing("the thing"):
        _ = 1 // 0


def test_a_message_of_many_lines_is_cut_to_one() -> None:
    with pytest.raises(Unreadable) as caught, parsing("the thing"):
        raise ValueError("first\nsecond")
    assert caught.value.message == "the thing cannot be read: first"


def test_a_key_that_openssl_refuses_without_words_is_unreadable() -> None:
    der = bytearray(keys.to_der(plans.key(keys.KeyKind.ED25519)))
    # An Ed25519 key of 31 octets instead of 32, all lengths being right.
    short = der[:-1]
    for at in (1, 13, 15):
        short[at] -= 1
    with pytest.raises(Unreadable):
        keys.from_der(bytes(short))


def _with_serial(number: bytes) -> bytes:
    """A leaf whose serial number is replaced, its signature with it becoming wrong."""
    plan = plans.plan(serial_number="7f" * 20)
    der = ca.sign_leaf(plans.authority(), plan).public_bytes(Encoding.DER)
    return der.replace(asn1.tlv(asn1.INTEGER, b"\x7f" * 20), asn1.tlv(asn1.INTEGER, number))


@pytest.mark.parametrize("number", [b"\x80" + b"\x7f" * 19, bytes(20)])
def test_a_serial_number_that_is_not_positive_is_unreadable(number: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Unreadable):
            reading.facts(reading.certificate(_with_serial(number)))


def test_the_serial_number_of_a_replaced_one_is_read() -> None:
    assert isinstance(reading.certificate(_with_serial(b"\x01" * 20)), x509.Certificate)
