"""Profiles permit what they say, refuse with every reason, and only ever shorten a life."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Refused
from certctl_core.ids import ProfileId
from certctl_core.models.catalog import CertificateProfile, KeyAlgorithmRule
from certctl_core.pki import ca, names, reading
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import profile as judging
from tests import plans

ISSUER_LIFE = timedelta(days=90)


def _profile(**changes: Any) -> CertificateProfile:
    usual = CertificateProfile(
        id=ProfileId("prof-1"),
        name="TLS",
        allowed_ekus=("serverAuth", "clientAuth"),
        created_at=plans.NOW,
        updated_at=plans.NOW,
    )
    return evolve(usual, **changes)


def _planned(profile: CertificateProfile | None, life: timedelta = ISSUER_LIFE, **changes: Any) -> LeafPlan:
    not_before, not_after = judging.validity(profile, life, plans.NOW)
    return plans.plan(not_before=not_before, not_after=not_after, **changes)


def test_a_plan_within_its_profile_is_permitted() -> None:
    judging.enforce(_profile(), _planned(_profile()))
    judging.enforce(None, _planned(None))


MAIL: dict[str, Any] = {"common_name": "alice@example.com", "sans": names.names_of("alice@example.com", [])}

REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a disabled profile": ({"enabled": False}, {}, "disabled"),
    "an algorithm that is not listed": (
        {"allowed_key_algorithms": (KeyAlgorithmRule("RSA", 2048),)},
        {},
        "ECDSA keys are not permitted, only RSA",
    ),
    "a key that is too short": (
        {"allowed_key_algorithms": (KeyAlgorithmRule("RSA", 3072), KeyAlgorithmRule("ECDSA", 384))},
        {},
        "must have 384 bits or more",
    ),
    "an Ed25519 key where ML-DSA is wanted": (
        {"allowed_key_algorithms": (KeyAlgorithmRule("ML-DSA-65"),)},
        {"public_key": plans.key(KeyKind.ED25519).public_key()},
        "only ML-DSA-65",
    ),
    "a weak key whatever is listed": (
        {"allowed_key_algorithms": (KeyAlgorithmRule("RSA", 1024),)},
        {"public_key": plans.weak_rsa().public_key()},
        "shorter than 2048",
    ),
    "a usage that is not listed": ({}, {"ekus": ("serverAuth", "codeSigning")}, "codeSigning is not permitted"),
    "no usage": ({}, {"ekus": ()}, "usage is required"),
    "no must-staple": ({"must_staple": True}, {"must_staple": False}, "must-staple"),
    "mail without an address": ({"allowed_ekus": ("emailProtection",)}, {"ekus": ("emailProtection",)}, "e-mail"),
    "time stamping with another usage": (
        {"allowed_ekus": ("timeStamping", "serverAuth")},
        {"ekus": ("timeStamping", "serverAuth")},
        "RFC 3161",
    ),
    "a name no pattern matches": (
        {"required_san_patterns": (r"[a-z]\.example\.com", r"192\.0\.2\..*", r"spiffe://.*")},
        {},
        "2001:db8::1 matches none",
    ),
    "no name where names are wanted": (
        {"required_san_patterns": (r".*",)},
        {"sans": (), "ekus": ("clientAuth",)},
        "a SAN is required",
    ),
    "no SPIFFE ID where one is wanted": (
        {"spiffe_uri_pattern": r"spiffe://example\.com/.*"},
        {"sans": names.names_of("a.example.com", [])},
        "SPIFFE ID matching",
    ),
    "another SPIFFE ID": ({"spiffe_uri_pattern": r"spiffe://example\.com/b"}, {}, "does not match the pattern"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_plan_outside_its_profile_is_refused_with_the_reason(case: str) -> None:
    profile_changes, plan_changes, words = REFUSALS[case]
    profile = _profile(**profile_changes)
    with pytest.raises(Refused) as caught:
        judging.enforce(profile, _planned(profile, **plan_changes))
    assert any(words in reason for reason in caught.value.reasons)
    assert all(reason in caught.value.message for reason in caught.value.reasons)


def test_every_reason_is_given() -> None:
    profile = _profile(
        must_staple=True,
        allowed_ekus=("clientAuth",),
        allowed_key_algorithms=(KeyAlgorithmRule("RSA", 2048),),
        required_san_patterns=("nothing",),
        max_ttl=timedelta(days=1),
    )
    plan = plans.plan(must_staple=False, ekus=("serverAuth",))
    assert len(judging.judge(profile, plan)) == 4 + len(plan.sans)


def test_mail_with_an_address_is_permitted() -> None:
    profile = _profile(allowed_ekus=("emailProtection",))
    judging.enforce(profile, _planned(profile, ekus=("emailProtection",), **MAIL))


def test_every_name_must_match_a_pattern_and_not_only_one() -> None:
    profile = _profile(required_san_patterns=(r"[a-z]+\.good\.example",))
    good = names.names_of("a.good.example", [])
    mixed = names.names_of("a.good.example", ["evil.example"])
    judging.enforce(profile, _planned(profile, common_name="a.good.example", sans=good))
    with pytest.raises(Refused, match=r"evil\.example"):
        judging.enforce(profile, _planned(profile, common_name="a.good.example", sans=mixed))


@pytest.mark.parametrize(
    "name", ["*.good.example", "a.good.example.evil.example", "xa.good.exampley", "a-good.example"]
)
def test_patterns_match_whole_names_and_a_wildcard_is_no_pattern(name: str) -> None:
    profile = _profile(required_san_patterns=(r"[a-z]\.good\.example",))
    with pytest.raises(Refused):
        judging.enforce(profile, _planned(profile, common_name=name, sans=names.names_of(name, [])))


def test_names_are_matched_in_their_canonical_spelling() -> None:
    profile = _profile(required_san_patterns=(r"a\.example\.com",))
    shouted = (x509.DNSName("A.EXAMPLE.COM"),)
    assert judging.judge(profile, _planned(profile, common_name="a.example.com", sans=shouted)) == ()


def test_a_spiffe_id_answers_to_its_own_pattern_alone() -> None:
    profile = _profile(required_san_patterns=(r"a\.example\.com",), spiffe_uri_pattern=r"spiffe://example\.com/\w+")
    sans = names.names_of("a.example.com", ["spiffe://example.com/web"])
    judging.enforce(profile, _planned(profile, sans=sans))


# Validity


@given(
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    issuer_days=st.integers(1, 3650),
    cap=st.none() | st.integers(1, 10**8),
    short_lived=st.booleans(),
)
def test_a_life_is_never_over_its_cap_nor_over_its_issuers(
    now: datetime, issuer_days: int, cap: int | None, short_lived: bool
) -> None:
    max_ttl = None if cap is None else timedelta(seconds=cap)
    profile = _profile(max_ttl=max_ttl, allow_short_lived=short_lived)
    present = now.replace(tzinfo=UTC)
    begins, ends = judging.validity(profile, timedelta(days=issuer_days), present)
    assert begins.microsecond == ends.microsecond == 0
    assert begins <= present - timedelta(minutes=5) < begins + timedelta(seconds=1)
    assert ends > present - timedelta(seconds=1)
    life = ends - begins + timedelta(seconds=1)
    longest = min(timedelta(days=issuer_days), max_ttl or timedelta.max)
    allowance = timedelta(minutes=5) if short_lived else timedelta(0)
    # What is shorter than its own backdating is made to last until now.
    assert life <= max(longest + allowance, timedelta(minutes=5, seconds=2))


@given(st.integers(302, 10**8), st.booleans())
def test_what_validity_gives_the_profile_permits(cap: int, short_lived: bool) -> None:
    profile = _profile(max_ttl=timedelta(seconds=cap), allow_short_lived=short_lived)
    assert judging.judge(profile, _planned(profile)) == ()


def test_a_life_of_90_days_has_its_last_second_within_the_90_days() -> None:
    begins, ends = judging.validity(None, timedelta(days=90), plans.NOW)
    assert begins == plans.NOW - timedelta(minutes=5)
    assert ends == begins + timedelta(days=90) - timedelta(seconds=1)


def test_the_life_of_a_short_lived_certificate_counts_from_now() -> None:
    profile = _profile(max_ttl=timedelta(minutes=10), allow_short_lived=True)
    begins, ends = judging.validity(profile, ISSUER_LIFE, plans.NOW)
    assert begins == plans.NOW - timedelta(minutes=5)
    assert ends == plans.NOW + timedelta(minutes=10) - timedelta(seconds=1)


def test_a_cap_never_makes_a_life_longer() -> None:
    begins, ends = judging.validity(_profile(max_ttl=timedelta(days=3000)), ISSUER_LIFE, plans.NOW)
    assert ends - begins < ISSUER_LIFE


def test_one_second_over_the_cap_is_refused() -> None:
    profile = _profile(max_ttl=timedelta(days=47))
    plan = _planned(profile)
    judging.enforce(profile, plan)
    with pytest.raises(Refused, match="maximum"):
        judging.enforce(profile, evolve(plan, not_after=plan.not_after + timedelta(seconds=1)))


def test_what_a_ca_returns_is_judged_like_what_was_asked() -> None:
    profile = _profile(max_ttl=timedelta(days=7))
    asked = _planned(profile)
    returned = ca.sign_leaf(plans.authority(), asked)
    assert judging.judge(profile, reading.plan_of(returned)) == ()
    longer = ca.sign_leaf(plans.authority(), evolve(asked, not_after=asked.not_after + timedelta(days=1)))
    assert judging.judge(profile, reading.plan_of(longer)) != ()


# Profiles themselves


def test_the_usual_profile_is_sound() -> None:
    assert judging.problems(_profile()) == []
    assert judging.problems(_profile(allow_short_lived=True, max_ttl=timedelta(seconds=3599))) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"allowed_key_algorithms": (KeyAlgorithmRule("RSA", 1024),)}, "allowed_key_algorithms[0].min_size"),
        ({"allowed_key_algorithms": (KeyAlgorithmRule("ECDSA", 224),)}, "allowed_key_algorithms[0].min_size"),
        ({"allowed_key_algorithms": (KeyAlgorithmRule("DSA", 2048),)}, "allowed_key_algorithms[0].algorithm"),
        ({"max_ttl": timedelta(0)}, "max_ttl_seconds"),
        ({"max_ttl": timedelta(seconds=300)}, "max_ttl_seconds"),
        ({"allow_short_lived": True}, "max_ttl_seconds"),
        ({"allow_short_lived": True, "max_ttl": timedelta(hours=1)}, "max_ttl_seconds"),
        ({"allowed_ekus": ()}, "allowed_ekus"),
        ({"allowed_ekus": ("serverAuth", "webAuth")}, "allowed_ekus[1]"),
        ({"allowed_ekus": ("serverAuth", "serverAuth")}, "allowed_ekus"),
        ({"allowed_ekus": ("serverAuth", "timeStamping")}, "allowed_ekus"),
        ({"required_san_patterns": (r"a\.example", "*.example.com")}, "required_san_patterns[1]"),
        ({"spiffe_uri_pattern": "("}, "spiffe_uri_pattern"),
    ],
)
def test_a_profile_that_makes_no_sense_is_described_by_field(changes: dict[str, Any], field: str) -> None:
    assert field in [problem.field for problem in judging.problems(_profile(**changes))]
