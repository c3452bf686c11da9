"""A token is believed when a trusted key signed it in one of two ways, and never otherwise (RFC 8725)."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Refused, TooLarge, Unreadable
from certctl_core.pki import jws
from tests import devices, plans, strangers
from tests.tokens import part, token

RSA, P256 = devices.rsa_key("connector"), strangers.key("connector")
P384 = ec.generate_private_key(ec.SECP384R1())
TRUSTED = [RSA.public_key(), P256.public_key(), P384.public_key()]
CLAIMS = {"sub": "device-1", "n": 1}


@pytest.mark.parametrize("key", [RSA, P256], ids=["RS256", "ES256"])
def test_claims_of_a_trusted_key_are_read(key: ec.EllipticCurvePrivateKey) -> None:
    assert jws.claims(token(CLAIMS, key), TRUSTED) == CLAIMS
    with pytest.raises(Unreadable, match="trusted"):
        jws.claims(token(CLAIMS, key), [])


def test_whom_nobody_trusts_is_not_believed() -> None:
    for stranger in (devices.rsa_key("stranger"), strangers.key("stranger")):
        with pytest.raises(Unreadable, match="trusted"):
            jws.claims(token(CLAIMS, stranger), TRUSTED)


PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
REFUSED = {
    "no signature": token(CLAIMS, None),
    "no signature in capitals": token(CLAIMS, RSA, alg="None"),
    "a shared secret": token(CLAIMS, b"secret"),
    "a public key as a shared secret": token(CLAIMS, PEM),
    "another hash": token(CLAIMS, RSA, alg="RS512"),
    "another padding": token(CLAIMS, RSA, alg="PS256"),
    "several algorithms": token(CLAIMS, RSA, alg=["RS256"]),
    "no algorithm": token(CLAIMS, RSA, alg=None),
    "an extension": token(CLAIMS, RSA, crit=["b64"], b64=False),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_ways_to_sign_are_refused(case: str) -> None:
    with pytest.raises(Refused):
        jws.claims(REFUSED[case], TRUSTED)


GOOD = token(CLAIMS, RSA)
HEAD, BODY, TAIL = GOOD.split(".")
UNREADABLE = {
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{TAIL}",
    "an empty signature": f"{HEAD}.{BODY}.",
    "padding": f"{HEAD}.{BODY}.{TAIL}==",
    "space around it": f" {GOOD}",
    "a newline behind it": f"{GOOD}\n",
    "other claims": f"{HEAD}.{part(json.dumps({**CLAIMS, 'sub': 'device-2'}).encode())}.{TAIL}",
    "another header": f"{part(json.dumps({'alg': 'ES256'}).encode())}.{BODY}.{TAIL}",
    "a header that is a list": f"{part(b'[]')}.{BODY}.{TAIL}",
    "a header that is no JSON": f"{part(b'{')}.{BODY}.{TAIL}",
    "claims that are a list": token([], RSA),
    "claims that are no JSON": token(b"\xff", RSA),
    "a claim twice": token(b'{"sub": "device-1", "sub": "device-2"}', RSA),
    "nested without end": token(b"[" * 5000, RSA),
    "a curve that is not P-256": token(CLAIMS, P384),
    "an ES256 signature of a wrong length": f"{token(CLAIMS, P256)}AAAA",
    "an algorithm that the key has not": token(CLAIMS, RSA, alg="ES256"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_token_is_unreadable(case: str) -> None:
    with pytest.raises(Unreadable):
        jws.claims(UNREADABLE[case], TRUSTED)


def test_of_the_same_octets_there_is_one_text() -> None:
    for other in (chr(ord(TAIL[-1]) + 1), chr(ord(TAIL[-1]) - 1)):
        with pytest.raises(Unreadable):
            jws.claims(GOOD[:-1] + other, TRUSTED)


def test_a_token_over_the_cap_is_not_read() -> None:
    with pytest.raises(TooLarge):
        jws.claims("a" * (jws.MAX_TOKEN_BYTES + 1), TRUSTED)


@given(st.data())
def test_any_change_is_noticed(data: st.DataObject) -> None:
    changed = data.draw(plans.mutations(GOOD.encode())).decode("latin-1")
    with plans.only_typed_errors():
        assert jws.claims(changed, TRUSTED) == CLAIMS
        assert changed == GOOD
