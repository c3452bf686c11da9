"""Lists: filters, sorts, and pages by key that neither skip nor repeat a row where values are equal."""

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from attrs import evolve

from certctl_adapters import kinds
from certctl_core.errors import Invalid
from certctl_core.models.access import Role
from certctl_core.models.agents import AgentStatus
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.ports.store import Is, Query, Table, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

KINDS = {
    "teams": kinds.TEAMS,
    "owners": kinds.OWNERS,
    "profiles": kinds.PROFILES,
    "renewal_policies": kinds.RENEWAL_POLICIES,
    "agents": kinds.AGENTS,
    "issuers": kinds.ISSUERS,
    "targets": kinds.TARGETS,
    "certificates": kinds.CERTIFICATES,
    "jobs": kinds.JOBS,
    "notifications": kinds.NOTIFICATIONS,
    "api_keys": kinds.API_KEYS,
    "join_tokens": kinds.JOIN_TOKENS,
}

LIMITS = (Is.OPEN_TO, Is.WITHIN)


def varied() -> list[ManagedCertificate]:
    """Certificates with ties in everything that can be sorted by, and some without what is optional."""
    return [
        facts.certificate(
            f"mc-{number:02}",
            name=f"Name-{number % 5}-{number}",
            common_name=f"{'zyx'[number % 3]}.example",
            environment=("", "prod", "Test")[number % 3],
            status=(CertificateStatus.ACTIVE, CertificateStatus.PENDING, CertificateStatus.FAILED)[number % 3],
            expires_at=None if number % 4 == 0 else AT + (number % 3) * DAY,
            created_at=AT + (number % 2) * HOUR,
            updated_at=AT - (number % 3) * HOUR,
            profile_id="prof-1" if number % 2 else None,
            target_ids=(("t-1",), ("t-2", "t-1"), ())[number % 3],
        )
        for number in range(23)
    ]


@pytest.fixture
def full(seeded: OpenWork) -> OpenWork:
    """Seeded, with a row or more of every kind."""
    with seeded() as work:
        for certificate in varied():
            work.certificates.add(certificate)
        work.renewal_policies.add(facts.policy(profile_id="prof-1"))
        work.jobs.add(facts.job("job-1", certificate_id="mc-01"))
        work.jobs.add(facts.deployment_job("job-2", certificate_id="mc-01", scheduled_at=AT + HOUR, completed_at=AT))
        work.notifications.add(facts.notification(certificate_id="mc-01"))
        work.api_keys.add(facts.api_key())
        work.api_keys.add(facts.api_key("key-2", role=Role.AGENT, agent_id="a-1", revoked_at=AT))
        work.join_tokens.add(facts.join_token())
        work.join_tokens.add(facts.join_token("join-2", used_at=AT, used_by="a-1"))
        work.agents.save(evolve(work.agents.get("a-1"), last_heartbeat_at=AT, status=AgentStatus.OFFLINE))
    return seeded


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


def key_of(field: str) -> Callable[[Any], tuple[Any, ...]]:
    """What a list is sorted by: None comes last, enumerations by their word, equals by id."""

    def key(fact: Any) -> tuple[Any, ...]:
        value = getattr(fact, field)
        return (True, fact.id) if value is None else (False, getattr(value, "value", value), fact.id)

    return key


def by_key(table: Table[Any], query: Query, field: str) -> list[Any]:
    """Everything, page by page, each asked for by the last row of the one before."""
    seen: list[Any] = []
    page = table.page(query)
    while True:
        assert len(page.items) <= query.limit
        seen += page.items
        if not page.more:
            assert page.total == len(seen)
            return seen
        # The place of a row wins over any offset.
        page = table.page(evolve(query, after=(getattr(seen[-1], field), seen[-1].id), offset=99))


class TestPaging:
    @pytest.mark.parametrize("kind", KINDS)
    def test_pages_by_key_are_the_whole_list_in_order_by_every_sort(self, full: OpenWork, kind: str) -> None:
        with full() as work:
            for (sort, field), descending in product(KINDS[kind].sorts.items(), (False, True)):
                whole = getattr(work, kind).page(Query(sort=sort, descending=descending, limit=1000)).items
                pages = by_key(getattr(work, kind), Query(sort=sort, descending=descending, limit=4), field)
                assert ids(pages) == ids(whole)
                assert ids(whole) == ids(sorted(whole, key=key_of(field), reverse=descending))

    def test_pages_by_offset_are_the_whole_list_in_order(self, full: OpenWork) -> None:
        with full() as work:
            pages = [work.certificates.page(Query(sort="status", limit=10, offset=start)) for start in (0, 10, 20)]
            whole = work.certificates.page(Query(sort="status", limit=23))
        assert [item for page in pages for item in page.items] == list(whole.items)
        assert [page.more for page in pages] == [True, True, False]
        assert {page.total for page in pages} == {23}

    def test_counting_can_be_left_out(self, full: OpenWork) -> None:
        with full() as work:
            page = work.certificates.page(Query(limit=5, count=False))
        assert (page.total, len(page.items), page.more) == (0, 5, True)

    def test_an_empty_page_has_a_total(self, full: OpenWork) -> None:
        with full() as work:
            page = work.certificates.page(Query(limit=0))
        assert (page.total, page.items, page.more) == (23, (), True)

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            (Query(sort="revision"), ["sort"]),
            (Query(where=(Where("tags", {}), Where("nothing", 1)), sort="x"), ["tags", "nothing", "sort"]),
            (Query(limit=-1, offset=-1), ["limit", "offset"]),
            (Query(where=(Where("agent_id", "a-1", Is.BEFORE),)), ["agent_id"]),
            (Query(where=(Where("names", "x"),)), ["names"]),
            (Query(where=(Where("expires_at", "x", Is.CONTAINS),)), ["expires_at"]),
        ],
    )
    def test_what_cannot_be_asked_is_refused_by_name(self, store: OpenWork, query: Query, names: list[str]) -> None:
        with pytest.raises(Invalid) as refused, store() as work:
            work.certificates.page(query)
        assert [problem.field for problem in refused.value.fields] == names


class TestFilters:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_filter_finds_the_rows_that_have_the_value(self, full: OpenWork, kind: str) -> None:
        with full() as work:
            table: Table[Any] = getattr(work, kind)
            rows = table.page(Query(limit=1000)).items
            for name, value in sorted({(n, getattr(row, n)) for n in KINDS[kind].filters for row in rows}, key=str):
                having = [row for row in rows if getattr(row, name) == value]
                equal = table.page(Query(where=(Where(name, value),), limit=1000))
                assert (ids(equal.items), equal.total) == (ids(having), len(having))
                if value is not None:
                    assert table.page(Query(where=(Where(name, [value], Is.ONE_OF),), limit=1000)) == equal
            assert table.page(Query(where=(Where("id", [], Is.ONE_OF),))).total == 0

    def test_before_and_after_are_strict_and_leave_out_what_is_not_there(self, full: OpenWork) -> None:
        at = AT + DAY
        with full() as work:
            rows = [c for c in work.certificates.page(Query(limit=1000)).items if c.expires_at is not None]
            before = work.certificates.page(Query(where=(Where("expires_at", at, Is.BEFORE),), limit=1000))
            after = work.certificates.page(Query(where=(Where("expires_at", at, Is.AFTER),), limit=1000))
        assert ids(before.items) == [c.id for c in rows if c.expires_at and c.expires_at < at]
        assert ids(after.items) == [c.id for c in rows if c.expires_at and c.expires_at > at]

    def test_conditions_are_all_to_hold(self, full: OpenWork) -> None:
        wanted = (
            Where("status", (CertificateStatus.ACTIVE, CertificateStatus.PENDING), Is.ONE_OF),
            Where("environment", "prod"),
            Where("created_at", AT, Is.AFTER),
        )
        with full() as work:
            found = work.certificates.page(Query(where=wanted, limit=1000)).items
        assert ids(found) == ["mc-01", "mc-07", "mc-13", "mc-19"]

    def test_certificates_are_found_by_target_and_by_its_agent(self, full: OpenWork) -> None:
        with full() as work:
            by_target = work.certificates.page(Query(where=(Where("target_id", "t-2"),), limit=1000))
            by_agent = work.certificates.page(Query(where=(Where("agent_id", "a-2"),), limit=1000))
            by_either = work.certificates.page(Query(where=(Where("agent_id", ["a-1", "a-2"], Is.ONE_OF),), limit=1000))
            by_nobody = work.certificates.page(Query(where=(Where("agent_id", "nobody"),)))
        assert ids(by_target.items) == [c.id for c in by_agent.items]
        assert set(ids(by_target.items)) == {c.id for c in varied() if "t-2" in c.target_ids}
        assert set(ids(by_either.items)) == {c.id for c in varied() if c.target_ids}
        assert by_either.total == len(by_either.items)
        assert by_nobody.items == ()

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("NAME-1-1", {"mc-01", "mc-11", "mc-16"}),
            ("y.EXAMPLE", {c.id for c in varied() if c.common_name == "y.example"}),
            ("%", set()),
            ("Name_1", set()),
            ("\\", set()),
        ],
    )
    def test_certificates_are_found_by_a_part_of_their_names(self, full: OpenWork, text: str, found: set[str]) -> None:
        with full() as work:
            page = work.certificates.page(Query(where=(Where("names", text, Is.CONTAINS),), limit=1000))
        assert set(ids(page.items)) == found

    @pytest.mark.parametrize(
        ("how", "given", "found"),
        [
            (Is.OPEN_TO, ("team-1",), {"everybody's", "one's", "both's"}),
            (Is.OPEN_TO, ("team-2", "nobody"), {"everybody's", "both's"}),
            (Is.OPEN_TO, (), {"everybody's"}),
            (Is.WITHIN, ("team-1",), {"one's"}),
            (Is.WITHIN, ("team-2", "team-1"), {"one's", "both's"}),
            (Is.WITHIN, (), set()),
        ],
    )
    @pytest.mark.parametrize("kind", ["issuers", "targets", "agents", "api_keys"])
    def test_rows_are_found_by_what_they_are_limited_to(
        self, seeded: OpenWork, kind: str, how: Is, given: tuple[str, ...], found: set[str]
    ) -> None:
        limits = {"everybody's": (), "one's": ("team-1",), "both's": ("team-1", "team-2")}
        made: Callable[..., Any] = getattr(facts, kind.removesuffix("s"))
        with seeded() as work:
            work.teams.add(facts.team("team-2"))
            for name, teams in limits.items():
                getattr(work, kind).add(made(name, team_ids=teams))
            having = (Where("team_ids", given, how), Where("name", tuple(limits), Is.ONE_OF))
            page = getattr(work, kind).page(Query(having))
        assert set(ids(page.items)) == found
        assert page.total == len(found)

    def test_owners_and_teams_are_found_by_the_team_they_belong_to(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.teams.add(facts.team("team-2"))
            work.owners.add(facts.owner("everybody's", team_id=None))
            work.owners.add(facts.owner("theirs", team_id="team-2"))
            owners = {how: work.owners.page(Query((Where("team_id", ["team-2"], how),))) for how in LIMITS}
            teams = {how: work.teams.page(Query((Where("id", ["team-2"], how),))) for how in LIMITS}
        assert {how: set(ids(page.items)) for how, page in owners.items()} == {
            Is.OPEN_TO: {"everybody's", "theirs"},
            Is.WITHIN: {"theirs"},
        }
        assert [ids(page.items) for page in teams.values()] == [["team-2"], ["team-2"]]

    @pytest.mark.parametrize("how", [Is.EQUAL, Is.ONE_OF, Is.CONTAINS, Is.BEFORE])
    def test_limits_have_comparisons_of_their_own(self, store: OpenWork, how: Is) -> None:
        with pytest.raises(Invalid) as refused, store() as work:
            work.issuers.page(Query((Where("team_ids", ("team-1",), how), Where("name", ("x",), Is.OPEN_TO))))
        assert [problem.field for problem in refused.value.fields] == ["team_ids", "name"]

    def test_jobs_are_found_by_their_certificates_team_and_environment(self, full: OpenWork) -> None:
        with full() as work:
            work.teams.add(facts.team("team-2"))
            work.certificates.add(facts.certificate("theirs", team_id="team-2", environment="prod"))
            work.jobs.add(facts.job("their job", certificate_id="theirs"))
            for where, found in (
                ((Where("team_id", ("team-2",), Is.ONE_OF),), ["their job"]),
                ((Where("team_id", ("team-1", "nobody"), Is.ONE_OF),), ["job-1", "job-2"]),
                ((Where("environment", ("prod",), Is.ONE_OF),), ["job-1", "job-2", "their job"]),
                ((Where("team_id", ("team-1",), Is.ONE_OF), Where("environment", ("Test",), Is.ONE_OF)), []),
            ):
                page = work.jobs.page(Query(where))
                assert (ids(page.items), page.total) == (found, len(found))
                assert sum(work.jobs.count_by_status(where).values()) == len(found)

    def test_jobs_are_found_by_agent_and_open_status(self, full: OpenWork) -> None:
        wanted = (Where("agent_id", "a-1"), Where("status", (JobStatus.PENDING,), Is.ONE_OF))
        with full() as work:
            found = work.jobs.page(Query(where=(*wanted, Where("type", JobType.DEPLOYMENT)), count=False))
        assert ids(found.items) == ["job-2"]

    def test_ids_are_sorted_by_code_point(self, seeded: OpenWork) -> None:
        names = ["B", "a", "_", "é", "Z", "-", "A1", "A-1"]
        with seeded() as work:
            for name in names:
                work.teams.add(facts.team(name, created_at=AT + timedelta(days=1)))
            found = work.teams.page(Query(where=(Where("created_at", AT, Is.AFTER),)))
        assert ids(found.items) == sorted(names)
