"""A challenge is good for the device that it was given to, for the names it has, and for its time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509

from certctl_core.errors import Unreadable
from certctl_core.pki import asn1, keys
from certctl_core.pki.csr import CsrFacts
from certctl_core.policy import intune
from certctl_core.policy.intune import Verdict
from tests.plans import NOW

RULES = intune.Rules(audience="https://pki.example.com/scep/phones")
AT = int(NOW.timestamp())
CLAIMS: Mapping[str, Any] = {
    "iss": "connector",
    "sub": "guid-1",
    "aud": RULES.audience,
    "iat": AT,
    "exp": AT + 1800,
    "nonce": "n-1",
    "device_name": "PHONE-1",
    "san_dns": ["phone-1.example.com"],
    "san_rfc822": ["alice@example.com"],
    "version": "1",
}
SECOND = timedelta(seconds=1)


def _read(**changes: Any) -> intune.Challenge:
    return intune.read({name: value for name, value in {**CLAIMS, **changes}.items() if value is not None})


def _asked(common_name: str = "phone-1", *sans: x509.GeneralName) -> CsrFacts:
    return CsrFacts(common_name, sans, keys.KeyFacts("RSA", 2048))


NAMES = (x509.DNSName("PHONE-1.example.com"), x509.RFC822Name("alice@example.com"))


def test_claims_are_read() -> None:
    challenge = _read()
    assert (challenge.nonce, challenge.device, challenge.audiences) == ("n-1", "guid-1", (RULES.audience,))
    assert (challenge.issued_at, challenge.expires_at) == (NOW, NOW + timedelta(minutes=30))
    assert _read(nonce=None, jti="j-1").nonce == "j-1"
    assert _read(sub=None).device == "PHONE-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonce", None), ("nonce", ""), ("nonce", 5), ("nonce", "n" * 256), ("nonce", "a\nb"),
        ("iat", None), ("iat", "yesterday"), ("iat", True), ("iat", -1), ("iat", float("nan")), ("iat", 1e30),
        ("exp", None), ("exp", AT), ("exp", AT - 1),
        ("aud", 7), ("aud", {"a": 1}), ("aud", [7]),
        ("san_dns", {"a": 1}), ("san_dns", [["a"]]), ("san_dns", ["a"] * 101),
        ("version", "2"), ("version", 2), ("version", True), ("version", []),
        ("device_name", 7),
    ],
)  # fmt: skip
def test_claims_that_make_no_sense_are_unreadable(name: str, value: Any) -> None:
    with pytest.raises(Unreadable):
        _read(**{name: value})


def test_a_challenge_of_nobody_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        _read(sub=None, device_name=None)


def test_a_challenge_is_good_for_its_time_and_a_little_more() -> None:
    challenge = _read()
    judged = {seconds: intune.judge(challenge, RULES, NOW + seconds * SECOND) for seconds in (-61, -60, 0, 1860, 1861)}
    assert judged == {
        -61: Verdict.NOT_YET, -60: Verdict.GOOD, 0: Verdict.GOOD, 1860: Verdict.GOOD, 1861: Verdict.EXPIRED,
    }  # fmt: skip


def test_a_challenge_that_claims_to_be_good_for_long_is_not() -> None:
    challenge = _read(exp=AT + 10**6)
    assert intune.judge(challenge, RULES, NOW + timedelta(hours=1, minutes=1)) is Verdict.GOOD
    assert intune.judge(challenge, RULES, NOW + timedelta(hours=1, minutes=1, seconds=1)) is Verdict.EXPIRED


def test_a_challenge_is_for_its_audience() -> None:
    assert intune.judge(_read(aud=["other", RULES.audience]), RULES, NOW) is Verdict.GOOD
    for other in ("other", None, [], RULES.audience + "/", RULES.audience.upper()):
        assert intune.judge(_read(aud=other), RULES, NOW) is Verdict.WRONG_AUDIENCE
    assert intune.judge(_read(), evolve(RULES, audience="other"), NOW) is Verdict.WRONG_AUDIENCE


def test_a_csr_that_asks_for_what_the_challenge_has_matches() -> None:
    assert intune.mismatches(_read(), _asked("Phone-1", *NAMES)) == ()


UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), asn1.tlv(0x0C, b"alice@corp.example.com"))


@pytest.mark.parametrize(
    ("common_name", "sans"),
    [
        ("phone-2", NAMES),
        ("", NAMES),
        ("phone-1", ()),
        ("phone-1", NAMES[:1]),
        ("phone-1", NAMES[1:]),
        ("phone-1", (*NAMES, x509.DNSName("other.example.com"))),
        ("phone-1", (*NAMES, x509.RFC822Name("bob@example.com"))),
        ("phone-1", (*NAMES, UPN)),
        ("phone-1", (*NAMES, x509.UniformResourceIdentifier("https://example.com"))),
    ],
)
def test_a_csr_that_asks_for_anything_else_does_not(common_name: str, sans: tuple[x509.GeneralName, ...]) -> None:
    assert intune.mismatches(_read(), _asked(common_name, *sans))


def test_names_of_windows_accounts_are_compared() -> None:
    challenge = _read(san_upn=["Alice@corp.example.com"])
    assert intune.mismatches(challenge, _asked("phone-1", *NAMES, UPN)) == ()
    assert intune.mismatches(challenge, _asked("phone-1", *NAMES))
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), UPN.value)
    assert intune.mismatches(challenge, _asked("phone-1", *NAMES, other))
    broken = x509.OtherName(UPN.type_id, b"\x30\x00")
    with pytest.raises(Unreadable):
        intune.mismatches(challenge, _asked("phone-1", *NAMES, broken))
