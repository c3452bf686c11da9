"""Files that ask for years of password hashing are told from others before it begins."""

from collections.abc import Iterator
from time import process_time

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, PrivateFormat, pkcs12

from certctl_core.errors import TooLarge, Unreadable
from certctl_core.pki import asn1, bundle, ca, rounds
from tests import plans
from tests.core.pki.cms import messages

LEAF = ca.sign_leaf(plans.authority(), plans.plan())
FEW = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(3)
SCHEMES = {
    "PBES2": FEW.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC),
    "3DES": FEW.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC),
}


def _file(scheme: str) -> bytes:
    encryption = SCHEMES[scheme].build(b"secret")
    return pkcs12.serialize_key_and_certificates(b"x", plans.key(), LEAF, plans.authority().chain, encryption)


def _asking_for_more(data: bytes) -> Iterator[bytes]:
    """The file with each of its numbers of rounds changed for another of as many octets (3 is written nowhere else)."""
    at = -1
    while (at := data.find(b"\x02\x01\x03", at + 1)) > 0:
        yield data[:at] + b"\x02\x01\x7f" + data[at + 3 :]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_number_of_rounds_is_found(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _file(scheme)
    rounds.require_few(data, "the file")
    found = list(_asking_for_more(data))
    assert len(found) >= 3, "version, certificates and key, at least"
    monkeypatch.setattr(rounds, "MAX_ROUNDS", 2048 + 50)
    refused = 0
    for changed in found:
        try:
            rounds.require_few(changed, "the file")
        except TooLarge:
            refused += 1
    assert refused >= 2, "of the certificates and of the key"


@pytest.mark.parametrize("octets", [4, 5, 9, 1000])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_that_asks_for_years_of_work_is_refused_at_once(scheme: str, octets: int) -> None:
    many = asn1.tlv(asn1.INTEGER, b"\x7f" + b"\xff" * (octets - 1))
    salt = asn1.octets(bytes(8))
    contents = asn1.tlv(0xA0, asn1.octets(asn1.sequence(asn1.sequence(asn1.sequence(salt, many)))))
    data = asn1.sequence(asn1.integer(3), asn1.sequence(asn1.object_identifier("1.2.840.113549.1.7.1"), contents))
    for hostile in (data, messages.to_ber(data)):
        begin = process_time()
        with pytest.raises(TooLarge, match="passwords hashed"):
            bundle.from_pkcs12(hostile, "secret")
        assert process_time() - begin < 0.5


def test_as_many_rounds_as_are_advised_are_borne() -> None:
    assert rounds.MAX_ROUNDS >= 3 * 600_000
    sound = pkcs12.serialize_key_and_certificates(b"x", plans.key(), LEAF, None, BestAvailableEncryption(b"secret"))
    rounds.require_few(sound, "the file")


def test_what_is_nested_without_end_is_not_read() -> None:
    data = asn1.sequence()
    for _ in range(100):
        data = asn1.sequence(asn1.tlv(0xA0, asn1.octets(data)))
    with pytest.raises(Unreadable, match="nested"):
        rounds.require_few(data, "the file")
