"""Notifications in any store."""

from certctl_core.ports.store import Is, Query, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, SECOND, OpenWork


def test_they_are_found_by_their_certificates_team_and_environment(seeded: OpenWork) -> None:
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-1", environment="production"))
        work.notifications.add(facts.notification("about", certificate_id="mc-1"))
        work.notifications.add(facts.notification("at large"))

    def found(*where: Where) -> list[str]:
        with seeded() as work:
            page = work.notifications.page(Query(where))
        assert page.total == len(page.items)
        return [told.id for told in page.items]

    assert found() == ["about", "at large"]
    assert found(Where("team_id", ("team-1", "team-9"), Is.ONE_OF)) == ["about"]
    assert found(Where("environment", ("production",), Is.ONE_OF)) == ["about"]
    assert found(Where("environment", ("staging",), Is.ONE_OF)) == []


def test_the_oldest_are_purged_first(seeded: OpenWork) -> None:
    with seeded() as work:
        for days in (1, 3, 2):
            work.notifications.add(facts.notification(f"n-{days}", created_at=AT - days * DAY))
    with seeded() as work:
        assert work.notifications.purge(AT - DAY, 1) == 1
        assert [told.id for told in work.notifications.page(Query()).items] == ["n-2", "n-1"]
        assert work.notifications.purge(AT - DAY + SECOND, 10) == 2
