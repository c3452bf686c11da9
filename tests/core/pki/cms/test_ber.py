"""What senders of BER do is put right; what is neither BER nor bounded is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Unreadable
from certctl_core.pki import asn1, cms
from certctl_core.pki.cms import ber
from tests import plans
from tests.core.pki.cms import messages

LEAFS = st.binary(max_size=300).map(asn1.octets) | st.integers(0, 2**80).map(asn1.integer) | st.just(asn1.NULL)
VALUES = st.recursive(
    LEAFS, lambda inner: st.lists(inner, max_size=4).map(lambda parts: asn1.sequence(*parts)), max_leaves=20
)


@given(VALUES)
def test_der_stays_as_it_is(der: bytes) -> None:
    assert ber.to_der(der) == der


@given(VALUES)
def test_whatever_form_a_value_comes_in_its_der_is_one(der: bytes) -> None:
    assert ber.to_der(messages.to_ber(der)) == der


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_unreadable(data: bytes) -> None:
    with plans.only_typed_errors():
        assert ber.to_der(ber.to_der(data)) == ber.to_der(data)


BAD = {
    "nothing": b"",
    "no length": b"\x30",
    "more than is there": b"\x30\x05\x02\x01\x01",
    "more than is around it": b"\x30\x03\x04\x04ab",
    "bytes behind the end": b"\x05\x00\x05\x00",
    "a primitive value without length": b"\x04\x80ab\0\0",
    "no end": b"\x30\x80\x05\x00",
    "half an end": b"\x30\x80\x05\x00\x00",
    "an end where there is a length": b"\x30\x02\x00\x00",
    "a tag of several octets": b"\x3f\x81\x01\x00",
    "a length of five octets": b"\x04\x85\x00\x00\x00\x00\x01a",
    "pieces that are no octet strings": b"\x24\x03\x02\x01\x01",
    "nested too deeply": b"\x30\x80" * 40 + b"\x00\x00" * 40,
    "too many parts": asn1.sequence(asn1.NULL * (ber.MAX_VALUES + 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_ber_or_too_much_is_unreadable(case: str) -> None:
    with pytest.raises(Unreadable):
        ber.to_der(BAD[case])


def test_messages_in_ber_are_read_as_those_in_der_are() -> None:
    signed = cms.sign(b"content" * 50, messages.signer())
    assert cms.read_signed(messages.to_ber(signed)) == cms.read_signed(signed)
    envelope = cms.envelop(b"content", messages.certificate())
    assert cms.open_envelope(messages.to_ber(envelope), [messages.recipient()]).content == b"content"
