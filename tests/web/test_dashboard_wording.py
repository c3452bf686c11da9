"""How times, statuses and events are put for people, and the geometry of the chart."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.ids import AuditEventId
from certctl_core.models.access import ActorType
from certctl_core.models.agents import AgentStatus
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.models.records import AuditEvent, LoopOutcome, LoopState
from certctl_web.dashboard import chart, wording
from certctl_web.dashboard.wording import Tone

NOW = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(milliseconds=-900), "just now"),
        (timedelta(seconds=-1), "1 second ago"),
        (timedelta(seconds=90), "in 90 seconds"),
        (timedelta(minutes=-2), "2 minutes ago"),
        (timedelta(minutes=119), "in 119 minutes"),
        (timedelta(hours=-47), "47 hours ago"),
        (timedelta(days=43, hours=23), "in 43 days"),
        (timedelta(days=-119), "119 days ago"),
        (timedelta(days=180), "in 6 months"),
        (timedelta(days=-3650), "10 years ago"),
    ],
)
def test_a_distance_in_time_is_put_in_its_largest_fitting_unit(distance: timedelta, words: str) -> None:
    assert wording.relative(NOW + distance, NOW) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(milliseconds=85), "85 ms"),
        (timedelta(seconds=1.234), "1.23 s"),
        (timedelta(seconds=30), "30 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=2), "2 h"),
    ],
)
def test_a_measurement_is_brief(length: timedelta, words: str) -> None:
    assert wording.brief(length) == words


def test_times_are_utc_and_say_so() -> None:
    assert wording.stamp(NOW) == "2031-03-04 05:06:07 UTC"
    assert wording.day(NOW) == "4 Mar 2031"
    assert wording.clock(NOW) == "05:06:07 UTC"


@pytest.mark.parametrize("kind", [CertificateStatus, JobStatus, AgentStatus, LoopOutcome])
def test_every_status_has_a_word_of_its_own(kind: type[CertificateStatus]) -> None:
    words = [wording.STATUS[status].text for status in kind]
    assert len(set(words)) == len(words)


def test_every_type_and_reason_has_a_word() -> None:
    assert set(wording.JOB_TYPE) == set(JobType)
    assert set(wording.REASON) == set(RevocationReason)


def test_an_event_nobody_named_is_still_readable() -> None:
    assert wording.event("discovery_scan_failed") == wording.Word("Discovery scan failed", Tone.BAD)
    assert wording.event("renewal_triggered").tone is Tone.QUIET


def test_details_leave_out_what_is_empty() -> None:
    event = AuditEvent(
        id=AuditEventId("audit-1"),
        actor="mira",
        actor_type=ActorType.USER,
        action="x",
        resource_type="certificate",
        resource_id="cert-1",
        details={"a_list": ["b", "c"], "nothing": None, "empty": "", "no": False, "count": 0},
        timestamp=NOW,
    )
    assert wording.details(event) == (("a list", "b, c"), ("count", "0"))


def test_a_loop_that_should_have_run_is_late_however_well_it_ended() -> None:
    state = LoopState(
        name="renewal_check",
        interval=timedelta(seconds=30),
        next_run_at=NOW - timedelta(seconds=61),
        last_outcome=LoopOutcome.SUCCESS,
    )
    assert wording.loop(state, NOW) == wording.Word("Late", Tone.BAD)
    assert wording.loop(state, NOW - timedelta(seconds=2)).text == "Healthy"


@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=120))
def test_the_chart_stays_inside_of_its_frame(counts: list[int]) -> None:
    today = NOW.replace(hour=0, minute=0, second=0)
    drawn = chart.draw([(today + timedelta(days=n), count) for n, count in enumerate(counts)], NOW)
    assert drawn.total == sum(counts)
    assert [bar.count for bar in drawn.bars] == [count for count in counts if count]
    for bar in drawn.bars:
        assert 0 <= bar.x < bar.x + bar.width <= 100.001
        assert 0 <= bar.y <= bar.y + bar.height <= chart.HEIGHT + 0.1
    assert 3 <= len(drawn.scale) <= 5
    assert drawn.scale[0].text == "0"
    assert drawn.scale[0].at == chart.HEIGHT


@pytest.mark.parametrize(
    ("highest", "texts"), [(0, "0 1 2"), (3, "0 1 2 3"), (9, "0 5 10"), (1700, "0 500 1,000 1,500 2,000")]
)
def test_the_scale_has_round_numbers(highest: int, texts: str) -> None:
    drawn = chart.draw([(NOW, highest)], NOW)
    assert " ".join(mark.text for mark in drawn.scale) == texts


def test_bars_are_coloured_by_how_near_the_end_is() -> None:
    drawn = chart.draw([(NOW + timedelta(days=n), 1) for n in (0, 7, 8, 30, 31)], NOW)
    assert [bar.tone for bar in drawn.bars] == [Tone.BAD, Tone.BAD, Tone.NOTICE, Tone.NOTICE, Tone.GOOD]
