"""When things are renewed, retried and announced."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.ids import CertificateId, IssuerId, OwnerId, RenewalPolicyId, TeamId
from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import ManagedCertificate, RevocationReason
from certctl_core.policy import alerts, renewal, retry
from certctl_core.policy.jitter import fraction
from certctl_core.policy.revocation import parse_reason

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _policy(**changes: Any) -> RenewalPolicy:
    return evolve(
        RenewalPolicy(id=RenewalPolicyId("rp-1"), name="usual", created_at=NOW, updated_at=NOW),
        **changes,
    )


def _certificate(**changes: Any) -> ManagedCertificate:
    usual = ManagedCertificate(
        id=CertificateId("mc-1"),
        name="site",
        common_name="a.example.com",
        owner_id=OwnerId("o-1"),
        team_id=TeamId("t-1"),
        issuer_id=IssuerId("iss-1"),
        renewal_policy_id=RenewalPolicyId("rp-1"),
        created_at=NOW,
        updated_at=NOW,
    )
    return evolve(usual, **changes)


LIVES = st.timedeltas(min_value=timedelta(minutes=10), max_value=timedelta(days=3650))
WINDOWS = st.none() | st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=365))


# Renewal


@given(LIVES, WINDOWS, st.text(max_size=20))
def test_a_certificate_is_renewed_within_its_window_and_never_at_once(
    life: timedelta, window: timedelta | None, key: str
) -> None:
    policy = _policy(renewal_window=window)
    at = renewal.renew_at(policy, NOW, NOW + life, key)
    lead = renewal.lead(policy, NOW, NOW + life)
    assert NOW + life - lead <= at <= NOW + life - lead * 0.9
    assert at - NOW >= life * 0.33
    assert window is None or lead <= window


def test_without_a_window_renewal_begins_in_the_last_third() -> None:
    assert renewal.lead(_policy(), NOW, NOW + timedelta(days=90)) == timedelta(days=30)
    assert renewal.lead(_policy(), NOW, NOW + timedelta(days=6)) == timedelta(days=2)


def test_a_window_in_days_does_not_swallow_a_short_life() -> None:
    policy = _policy(renewal_window=timedelta(days=30))
    assert renewal.lead(policy, NOW, NOW + timedelta(days=90)) == timedelta(days=30)
    assert renewal.lead(policy, NOW, NOW + timedelta(days=47)) == timedelta(days=30)
    assert renewal.lead(policy, NOW, NOW + timedelta(days=6)) == timedelta(days=4)


def test_certificates_made_together_are_renewed_apart() -> None:
    times = [renewal.renew_at(_policy(), NOW, NOW + timedelta(days=90), f"mc-{n}") for n in range(1000)]
    assert len(set(times)) == 1000
    assert max(times) - min(times) > timedelta(days=2.9)
    hours = {(at - NOW) // timedelta(hours=1) for at in times}
    assert len(hours) > 65


def test_the_same_certificate_is_renewed_at_the_same_time() -> None:
    once, again = (renewal.renew_at(_policy(), NOW, NOW + timedelta(days=90), "mc-1") for _ in range(2))
    assert once == again


@given(
    st.none() | st.timedeltas(min_value=timedelta(days=-30), max_value=timedelta(days=90)),
    st.integers(0, 10**6),
    st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=1)),
)
def test_a_round_that_failed_is_followed_by_another_within_a_day(
    left: timedelta | None, generation: int, interval: timedelta
) -> None:
    certificate = _certificate(expires_at=NOW + left if left is not None else None, generation=generation)
    after = renewal.after_failure(certificate, _policy(retry_interval=interval), NOW)
    assert after.renew_at is not None
    assert interval <= after.renew_at - NOW <= timedelta(days=1) * 1.1


def test_rounds_come_sooner_as_the_end_comes_nearer() -> None:
    policy = _policy(retry_interval=timedelta(minutes=5))
    pauses = [
        (renewal.after_failure(_certificate(expires_at=NOW + timedelta(days=left)), policy, NOW).renew_at or NOW) - NOW
        for left in (30, 4, 1, 0)
    ]
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[-1] < timedelta(minutes=6)


def test_nothing_is_renewed_by_itself_that_should_not_be() -> None:
    after = renewal.after_failure(_certificate(renew_at=NOW), _policy(auto_renew=False), NOW)
    assert after.renew_at is None


# Retry


@given(
    st.integers(1, 10**9),
    st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=1)),
    st.floats(0, 1, exclude_max=True),
    st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=2)),
)
def test_a_pause_is_positive_and_under_its_cap(
    attempt: int, interval: timedelta, chosen: float, cap: timedelta
) -> None:
    pause = retry.delay(attempt, interval, chosen, cap)
    assert min(interval, cap) / 2 <= pause <= cap


@given(st.integers(1, 30), st.floats(0, 1, exclude_max=True))
def test_pauses_double_until_the_cap(attempt: int, chosen: float) -> None:
    cap = timedelta(days=365 * 100)
    first = retry.delay(attempt, timedelta(seconds=1), chosen, cap)
    second = retry.delay(attempt + 1, timedelta(seconds=1), chosen, cap)
    assert abs(second - first * 2) < timedelta(milliseconds=1)


def test_what_failed_together_comes_back_apart() -> None:
    def again(job: int) -> datetime:
        return retry.next_attempt_at(NOW, attempt=3, interval=timedelta(hours=1), key=f"job-{job}")

    times = [again(job) for job in range(200)]
    assert len(set(times)) == 200
    assert min(times) >= NOW + timedelta(hours=2)
    assert max(times) < NOW + timedelta(hours=4)
    assert max(times) - min(times) > timedelta(hours=1.8)
    assert again(7) == times[7]


# Jitter


@given(st.lists(st.text()))
def test_a_fraction_is_in_its_range_and_stays_the_same(parts: list[str]) -> None:
    assert 0 <= fraction(*parts) < 1
    assert fraction(*parts) == fraction(*parts)


def test_parts_are_kept_apart() -> None:
    assert fraction("ab", "c") != fraction("a", "bc")


# Alerts


def test_alerts_come_at_each_threshold_once() -> None:
    policy = _policy(alert_thresholds_days=(0, 30, 7, 14))
    end = NOW + timedelta(days=90)
    times = [NOW]
    while (following := alerts.next_alert_at(policy, end, times[-1])) is not None:
        times.append(following)
    assert [alerts.threshold_crossed(policy, end, at) for at in times[1:]] == [30, 14, 7, 0]


def test_before_the_first_threshold_nothing_is_crossed() -> None:
    policy = _policy(alert_thresholds_days=(30,))
    assert alerts.threshold_crossed(policy, NOW + timedelta(days=31), NOW) is None
    assert alerts.next_alert_at(_policy(alert_thresholds_days=()), NOW, NOW) is None


def test_after_a_long_silence_only_the_last_threshold_counts() -> None:
    assert alerts.threshold_crossed(_policy(), NOW + timedelta(days=3), NOW) == 7


# Reasons


@pytest.mark.parametrize("reason", RevocationReason)
def test_a_reason_is_read_from_its_name_in_any_case(reason: RevocationReason) -> None:
    assert parse_reason(reason.value) is reason
    assert parse_reason(reason.value.upper()) is reason


def test_no_reason_is_unspecified_and_a_wrong_one_is_refused() -> None:
    assert parse_reason("") is RevocationReason.UNSPECIFIED
    for wrong in ("removeFromCRL", "aACompromise", "1", " keyCompromise"):
        with pytest.raises(Invalid, match="keyCompromise"):
            parse_reason(wrong)
