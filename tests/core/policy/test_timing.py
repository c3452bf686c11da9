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
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.records import AlertSeverity, Channel, NotificationType
from certctl_core.policy import alerts, renewal, retry, schedule
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
    end = NOW + timedelta(days=90)
    counting = alerts.thresholds(_policy(alert_thresholds_days=(0, 30, 7, 14)), NOW, end)
    times = [NOW]
    while (following := alerts.next_alert_at(counting, end, times[-1])) is not None:
        times.append(following)
    assert [alerts.threshold_crossed(counting, end, at) for at in times[1:]] == [30, 14, 7, 0]


def test_before_the_first_threshold_nothing_is_crossed() -> None:
    assert alerts.threshold_crossed((30,), NOW + timedelta(days=31), NOW) is None
    assert alerts.next_alert_at((), NOW, NOW) is None


def test_after_a_long_silence_only_the_last_threshold_counts() -> None:
    assert alerts.threshold_crossed((30, 14, 7, 0), NOW + timedelta(days=3), NOW) == 7


@pytest.mark.parametrize(
    ("life", "counting"),
    [
        (timedelta(days=398), (30, 14, 7, 0)),
        (timedelta(days=90), (30, 14, 7, 0)),
        (timedelta(days=47), (30, 14, 7, 0)),
        (timedelta(days=44), (14, 7, 0)),
        (timedelta(days=12), (7, 0)),
        (timedelta(days=6), (0,)),
        (timedelta(minutes=30), (0,)),
    ],
)
def test_no_threshold_reaches_into_the_first_third_of_a_life(life: timedelta, counting: tuple[int, ...]) -> None:
    assert alerts.thresholds(_policy(), NOW, NOW + life) == counting


@given(LIVES, st.sets(st.integers(0, 365), max_size=8), st.text(max_size=5))
def test_nobody_is_told_of_an_end_when_a_certificate_is_issued(life: timedelta, days: set[int], key: str) -> None:
    policy = _policy(alert_thresholds_days=tuple(days))
    issued = schedule.issued(_certificate(id=CertificateId(key)), policy, NOW, NOW + life, NOW)
    assert issued.next_alert_at is None or issued.next_alert_at >= NOW + life * 0.33


def test_a_threshold_matters_as_the_policy_says_and_else_by_its_nearness() -> None:
    policy = _policy(alert_severity_map={30: AlertSeverity.CRITICAL})
    assert [alerts.severity(policy, days) for days in (60, 30, 29, 1, 0)] == [
        AlertSeverity.INFORMATIONAL,
        AlertSeverity.CRITICAL,
        AlertSeverity.WARNING,
        AlertSeverity.WARNING,
        AlertSeverity.CRITICAL,
    ]


def test_messages_go_where_the_policy_says_and_what_it_leaves_out_is_not_kept_quiet() -> None:
    policy = _policy(
        alert_channels={AlertSeverity.WARNING: (Channel.SLACK, Channel.TEAMS), AlertSeverity.INFORMATIONAL: ()}
    )
    kind = NotificationType.EXPIRATION_WARNING
    assert alerts.channels(policy, kind, AlertSeverity.WARNING) == (Channel.SLACK, Channel.TEAMS)
    assert alerts.channels(policy, kind, AlertSeverity.INFORMATIONAL) == ()
    assert alerts.channels(policy, kind, AlertSeverity.CRITICAL) == (Channel.EMAIL,)
    revoked = alerts.channels(policy, NotificationType.REVOCATION, AlertSeverity.CRITICAL)
    assert revoked == (Channel.EMAIL, Channel.WEBHOOK)


# Everything that is to happen


def test_the_times_of_a_certificate_follow_one_another() -> None:
    issued = schedule.issued(_certificate(), _policy(), NOW, NOW + timedelta(days=90), NOW)
    floor = renewal.floor(_policy(), issued)
    assert issued.renew_at is not None
    assert issued.overdue_at is not None
    assert floor is not None
    assert issued.renew_at < issued.overdue_at < floor < NOW + timedelta(days=90)
    assert issued.overdue_at == NOW + timedelta(days=67.5)


def test_a_window_may_be_a_share_of_life() -> None:
    half = _policy(renewal_window_share=0.5)
    assert renewal.lead(half, NOW, NOW + timedelta(days=90)) == timedelta(days=45)
    assert renewal.lead(half, NOW, NOW + timedelta(days=6)) == timedelta(days=3)
    most = _policy(renewal_window_share=0.99)
    assert renewal.lead(most, NOW, NOW + timedelta(days=90)) == timedelta(days=60)


def test_what_is_not_renewed_by_itself_is_never_overdue() -> None:
    by_hand = _policy(auto_renew=False)
    assert schedule.issued(_certificate(), by_hand, NOW, NOW + timedelta(days=90), NOW).overdue_at is None
    assert schedule.first(_certificate(target_ids=("t",)), by_hand, NOW).renew_at is None


@pytest.mark.parametrize("status", CertificateStatus)
@given(
    st.timedeltas(min_value=timedelta(days=-100), max_value=timedelta(days=100)),
    st.booleans(),
    st.none() | st.timedeltas(min_value=timedelta(days=-5), max_value=timedelta(days=5)),
)
def test_a_changed_policy_promises_nothing_to_what_is_over_and_loses_nobody_else(
    status: CertificateStatus, left: timedelta, auto: bool, waits: timedelta | None
) -> None:
    policy = _policy(auto_renew=auto)
    before = _certificate(
        status=status,
        target_ids=("t-1",),
        valid_from=NOW + left - timedelta(days=90),
        expires_at=NOW + left,
        renew_at=None if waits is None else NOW + waits,
    )
    after = schedule.changed(before, policy, NOW)
    assert schedule.changed(after, policy, NOW) == after
    if status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
        assert (after.renew_at, after.next_alert_at, after.overdue_at) == (None, None, None)
    elif auto and status is not CertificateStatus.RENEWAL_IN_PROGRESS:
        assert after.renew_at is not None
    assert (after.status, after.expires_at) == (status, before.expires_at)


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
