"""CAs of issuers in any store."""

import pytest

from certctl_core.errors import Duplicate, Invalid, StaleWrite
from certctl_core.ids import AuthorityId, IssuerId
from certctl_core.models.authorities import AuthorityState, CertificateAuthority
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

ISSUER = IssuerId("iss-1")
RETIRING = {"state": AuthorityState.RETIRING, "issuer_id": "iss-1"}


def add(store: OpenWork, *authorities: CertificateAuthority) -> None:
    with store() as work:
        for one in authorities:
            work.authorities.add(one)


def test_everything_about_a_ca_is_kept(seeded: OpenWork) -> None:
    above = facts.authority("ica-1", issuer_id="iss-1")
    full = facts.authority(
        "ica-2",
        issuer_id="iss-1",
        parent_id="ica-1",
        name="Issuing",
        state=AuthorityState.PENDING,
        chain=(),
        csr=b"a request",
        links=(b"one", b"other"),
        key_driver_id="pkcs11:ica-2",
        sealed_key=None,
        signs_from=AT,
        retiring_since=AT + HOUR,
        drains_at=AT + DAY,
        ocsp_responder_url="http://ocsp.example.com",
        metadata={"room": "7"},
        note="for tests",
    )
    add(seeded, above, full)
    with seeded() as work:
        assert work.authorities.get("ica-2") == full
        assert list(work.authorities.children(AuthorityId("ica-1"))) == [full]
        assert list(work.authorities.children(AuthorityId("ica-2"))) == []


def test_the_cas_of_an_issuer_come_oldest_first(seeded: OpenWork) -> None:
    young = facts.authority("ica-1", issuer_id="iss-1", created_at=AT + HOUR)
    old = facts.authority("ica-2", issuer_id="iss-1")
    add(seeded, young, old, facts.authority("control-plane"))
    with seeded() as work:
        assert list(work.authorities.of_issuer(ISSUER)) == [old, young]
        assert list(work.authorities.of_issuers([ISSUER, IssuerId("iss-9")])) == [old, young]
        assert list(work.authorities.of_issuers([])) == []


def test_a_name_is_given_once_an_issuer(seeded: OpenWork) -> None:
    with seeded() as work:
        work.issuers.add(facts.issuer("iss-2"))
    add(seeded, facts.authority("ica-1", issuer_id="iss-1", name="Root"))
    add(seeded, facts.authority("ica-2", issuer_id="iss-2", name="Root"))
    with pytest.raises(Duplicate):
        add(seeded, facts.authority("ica-3", issuer_id="iss-1", name="Root"))


def test_of_two_writers_one_is_told(seeded: OpenWork) -> None:
    add(seeded, first := facts.authority("ica-1", issuer_id="iss-1"))
    with seeded() as work:
        work.authorities.save(first)
    with pytest.raises(StaleWrite), seeded() as work:
        work.authorities.save(first)


def test_a_ca_is_of_an_issuer_and_goes_with_it_and_those_below_stay(seeded: OpenWork) -> None:
    with pytest.raises(Invalid):
        add(seeded, facts.authority("ica-1", issuer_id="iss-9"))
    with seeded() as work:
        work.issuers.add(facts.issuer("iss-2"))
    add(seeded, facts.authority("ica-1", issuer_id="iss-2"), facts.authority("ica-2", issuer_id="iss-2"))
    add(seeded, facts.authority("ica-3", issuer_id="iss-1", parent_id="ica-1"))
    with seeded() as work:
        work.issuers.remove("iss-2")
    with seeded() as work:
        assert work.authorities.find("ica-1") is None
        assert work.authorities.get("ica-3").parent_id is None


def test_what_has_drained_is_due_and_nothing_else(seeded: OpenWork) -> None:
    due = facts.authority("ica-1", drains_at=AT, **RETIRING)
    later = facts.authority("ica-2", drains_at=AT + DAY, **RETIRING)
    active = facts.authority("ica-3", issuer_id="iss-1", drains_at=AT)
    add(seeded, due, later, active)
    with seeded() as work:
        assert list(work.authorities.due_drained(AT, 10)) == [due]
    with seeded() as work:
        assert list(work.authorities.due_drained(AT + DAY, 10)) == [due, later]
        assert list(work.authorities.due_drained(AT + DAY, 1)) == [due]


def test_the_last_end_is_of_what_the_issuer_issued_before(seeded: OpenWork) -> None:
    version = facts.version(job_id=None)
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-1"))
        work.versions.add(version)
    with seeded() as work:
        assert work.authorities.last_end(ISSUER, version.created_at) is None
        assert work.authorities.last_end(ISSUER, version.created_at + HOUR) == version.not_after
        assert work.authorities.last_end(IssuerId("iss-9"), version.created_at + HOUR) is None


def test_a_sealed_value_is_found_though_a_token_has_the_key_of_a_ca(seeded: OpenWork) -> None:
    add(seeded, facts.authority("ica-1", key_driver_id="pkcs11:ica-1", sealed_key=None))
    with seeded() as work:
        assert work.authorities.any_sealed() is None
    add(seeded, facts.authority("ica-2"))
    with seeded() as work:
        assert work.authorities.any_sealed() == b"\x02sealed"
