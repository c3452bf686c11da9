"""How serial numbers stand in any store, and which have changed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import evolve

from certctl_core.ids import IssuerId
from certctl_core.models.certificates import Revocation, RevocationReason
from certctl_core.models.standings import Standing
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

ISSUER = IssuerId("iss-1")
ENDS = AT + 90 * DAY


@pytest.fixture
def filled(seeded: OpenWork) -> OpenWork:
    """Three versions and a delegate; one of the versions is another CA's."""
    with seeded() as work:
        work.certificates.add(facts.certificate())
        for number, fields in enumerate(
            ({"authority": "aa"}, {"not_after": AT}, {"is_foreign": True, "serial_number": facts.serial("v-0")})
        ):
            certificate = {"generation": number + 1, "fingerprint_sha256": f"{number:064x}"}
            work.versions.add(facts.version(f"v-{number}", **{**certificate, **fields}))
        work.delegates.lock_or_add(facts.delegate("d", not_after=ENDS))
    return seeded


def revoke(store: OpenWork, name: str = "v-0", **fields: object) -> Revocation:
    made = facts.revocation(
        f"rev-{name}", serial_number=facts.serial(name), revoked_at=AT, not_after=ENDS, authority="aa", partition=0
    )
    made = evolve(made, **fields)
    with store() as work:
        work.revocations.add(made)
    return made


def changes(store: OpenWork, since: int) -> tuple[int, set[str]]:
    with store() as work:
        heard = work.standings.changes(since)
    return heard.position, {serial for _, serial in heard.changed}


def position(store: OpenWork) -> int:
    with store() as work:
        return work.standings.position()


GIVEN = Standing(facts.serial("v-0"), "aa", ENDS)
EXPIRED = Standing(facts.serial("v-1"), "", AT)
DELEGATE = Standing(facts.serial("d"), "aa", ENDS)


def test_what_the_issuers_cas_gave_is_found_also_when_it_has_expired(filled: OpenWork) -> None:
    wanted = {name: facts.serial(name) for name in ("v-0", "v-1", "v-2", "d", "never")}
    with filled() as work:
        found = work.standings.of(ISSUER, wanted.values())
        assert found == {one.serial_number: one for one in (GIVEN, EXPIRED, DELEGATE)}
        assert work.standings.of(IssuerId("iss-9"), wanted.values()) == {}
        assert work.standings.of(ISSUER, ()) == {}


def test_what_has_not_expired_is_read_without_revocations_and_these_by_themselves(filled: OpenWork) -> None:
    revoke(filled)
    with filled() as work:
        unexpired = list(work.standings.unexpired(ISSUER, AT))
        revoked = list(work.standings.revoked(ISSUER, AT))
        later = list(work.standings.revoked(ISSUER, ENDS))
    assert sorted(unexpired, key=lambda one: one.serial_number) == sorted(
        (GIVEN, DELEGATE), key=lambda one: one.serial_number
    )
    assert revoked == [evolve(GIVEN, authority="", revoked_at=AT, reason=RevocationReason.SUPERSEDED)]
    assert later == []


def test_a_revocation_shows_and_its_release_does(filled: OpenWork) -> None:
    held = revoke(filled, reason=RevocationReason.CERTIFICATE_HOLD)
    with filled() as work:
        stands = work.standings.of(ISSUER, {held.serial_number})[held.serial_number]
        assert (stands.revoked_at, stands.reason) == (AT, RevocationReason.CERTIFICATE_HOLD)
    with filled() as work:
        work.revocations.change_many([evolve(held, released_at=AT + HOUR)])
    with filled() as work:
        assert work.standings.of(ISSUER, {held.serial_number})[held.serial_number] == GIVEN
        assert list(work.standings.revoked(ISSUER, AT)) == []


def test_whoever_asks_for_changes_hears_of_each(filled: OpenWork) -> None:
    before = position(filled)
    assert changes(filled, before) == (before, set())
    held = revoke(filled, reason=RevocationReason.CERTIFICATE_HOLD)
    first, heard = changes(filled, before)
    assert heard == {held.serial_number}
    assert changes(filled, first) == (first, set())
    assert changes(filled, position(filled))[1] == set()
    with filled() as work:
        work.revocations.change_many([evolve(held, released_at=AT + HOUR)])
    second, heard = changes(filled, first)
    assert held.serial_number in heard
    assert changes(filled, second)[1] == set()


@pytest.mark.integration
class TestInTheDatabase:
    def test_what_changes_nothing_about_the_status_is_no_change(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate())
            work.versions.add(facts.version("v-0"))
        held = revoke(postgres)
        before = position(postgres)
        with postgres() as work:
            work.revocations.change_many([evolve(held, issuer_notified=True)])
        assert changes(postgres, before) == (before, set())

    def test_many_are_told_in_pieces(self, postgres: OpenWork) -> None:
        before = position(postgres)
        with postgres() as work:
            work.certificates.add(facts.certificate())
            for number in range(5):
                version = {"generation": number + 1, "fingerprint_sha256": f"{number:064x}"}
                work.versions.add(facts.version(f"v-{number}", **version))
        for number in range(5):
            revoke(postgres, f"v-{number}")
        seen: list[str] = []
        more = True
        while more:
            with postgres() as work:
                heard = work.standings.changes(before, 2)
            before, more = heard.position, heard.more
            seen += [serial for _, serial in heard.changed]
        assert seen == [facts.serial(f"v-{number}") for number in range(5)]

    def test_old_notes_are_forgotten(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate())
            work.versions.add(facts.version("v-0"))
        revoke(postgres)
        with postgres() as work:
            assert work.standings.forget(AT - 365 * 100 * DAY, 10) == 0
            assert work.standings.forget(AT, 10) == 1
        assert changes(postgres, 0)[1] == set()

    def test_no_change_is_ever_passed_by_however_late_it_is_committed(self, postgres: OpenWork) -> None:
        """One transaction revokes first and commits last; whoever has read what was committed between must still
        hear of it."""
        with postgres() as work:
            work.certificates.add(facts.certificate())
            for number in range(2):
                version = {"generation": number + 1, "fingerprint_sha256": f"{number:064x}"}
                work.versions.add(facts.version(f"v-{number}", **version))
        since = position(postgres)
        written, go_on = threading.Event(), threading.Event()

        def late() -> None:
            with postgres() as work:
                issuer_free = facts.revocation("rev-late", serial_number=facts.serial("v-0"), not_after=ENDS)
                work.revocations.add(issuer_free)
                written.set()
                go_on.wait(10)

        thread = threading.Thread(target=late)
        thread.start()
        try:
            assert written.wait(10)
            with _reading_along(postgres, since) as heard:
                go_on.set()
                thread.join(10)
                revoke(postgres, "v-1")
                deadline = time.monotonic() + 10
                while len(heard) < 2:
                    assert time.monotonic() < deadline, f"heard only {heard}"
                    time.sleep(0.005)
        finally:
            go_on.set()
            thread.join(10)
        assert sorted(heard) == sorted([facts.serial("v-0"), facts.serial("v-1")])


@contextmanager
def _reading_along(store: OpenWork, since: int) -> Iterator[list[str]]:
    """Everything that is heard of by asking again and again from the last position on."""
    heard: list[str] = []
    done = threading.Event()

    def read() -> None:
        at = since
        while not done.is_set():
            with store() as work:
                found = work.standings.changes(at)
            at = found.position
            heard.extend(serial for _, serial in found.changed)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield heard
    finally:
        done.set()
        reader.join(10)
