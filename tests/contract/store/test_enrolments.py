"""Enrolments and their secrets."""

import pytest

from certctl_core.errors import Duplicate
from certctl_core.ids import EnrolmentSecretId, JobId
from certctl_core.models.enrolment import EnrolmentProtocol
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, MINUTE, SECOND, OpenWork


@pytest.fixture
def enrolled(seeded: OpenWork) -> OpenWork:
    """Seeded, with a certificate and a job that an enrolment is of."""
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-0"))
        work.jobs.add(facts.job("job-0", certificate_id="mc-0", agent_id=None))
        work.enrolments.add(facts.enrolment("enrolment-1", transaction="17"))
    return seeded


class TestEnrolments:
    def test_a_transaction_is_found_by_protocol_label_and_name(self, enrolled: OpenWork) -> None:
        with enrolled() as work:
            found = work.enrolments.of_transaction(EnrolmentProtocol.EST, "phones", "17")
            assert found == work.enrolments.get("enrolment-1")
            assert work.enrolments.of_job(JobId("job-0")) == found
            for protocol, label, transaction in (
                (EnrolmentProtocol.SCEP, "phones", "17"),
                (EnrolmentProtocol.EST, "", "17"),
                (EnrolmentProtocol.EST, "phones", "18"),
            ):
                assert work.enrolments.of_transaction(protocol, label, transaction) is None
            assert work.enrolments.of_job(JobId("job-1")) is None
            assert work.enrolments.known(EnrolmentProtocol.EST, "phones", ["16", "17", "17"]) == {"17"}
            assert work.enrolments.known(EnrolmentProtocol.EST, "other", ["17"]) == frozenset()
            assert work.enrolments.known(EnrolmentProtocol.EST, "phones", []) == frozenset()

    def test_a_transaction_is_there_once(self, enrolled: OpenWork) -> None:
        with pytest.raises(Duplicate), enrolled() as work:
            work.enrolments.add(facts.enrolment("enrolment-2", transaction="17"))

    def test_it_goes_with_its_job(self, enrolled: OpenWork) -> None:
        with enrolled() as work:
            work.jobs.remove("job-0")
        with enrolled() as work:
            assert work.enrolments.find("enrolment-1") is None


class TestSecrets:
    def test_a_secret_is_found_by_its_hash(self, store: OpenWork) -> None:
        made = facts.enrolment_secret("es-1")
        with store() as work:
            work.enrolment_secrets.add(made)
            assert work.enrolment_secrets.by_hash(made.secret_hash) == made
            assert work.enrolment_secrets.by_hash("ab") is None

    def test_the_last_use_is_remembered_once_a_minute_and_is_no_change(self, store: OpenWork) -> None:
        made = facts.enrolment_secret("es-1")
        with store() as work:
            work.enrolment_secrets.add(made)
            for at in (AT, AT + SECOND, AT + MINUTE + SECOND, AT + MINUTE + 2 * SECOND):
                work.enrolment_secrets.used(EnrolmentSecretId("es-1"), at)
            work.enrolment_secrets.used(EnrolmentSecretId("nobody"), AT)
        with store() as work:
            found = work.enrolment_secrets.get("es-1")
            assert (found.last_used_at, found.revision) == (AT + MINUTE + SECOND, 1)

    def test_those_that_expired_are_removed_oldest_first(self, store: OpenWork) -> None:
        with store() as work:
            for number in range(3):
                work.enrolment_secrets.add(facts.enrolment_secret(f"es-{number}", expires_at=AT + number * DAY))
            assert work.enrolment_secrets.purge(AT + 2 * DAY, 1) == 1
            assert work.enrolment_secrets.find("es-0") is None
            assert work.enrolment_secrets.purge(AT + 2 * DAY, 5) == 1
            assert work.enrolment_secrets.find("es-2") is not None


def test_a_version_is_found_by_its_fingerprint(seeded: OpenWork) -> None:
    version = facts.version("certver-1")
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-1"))
        work.versions.add(version)
        assert work.versions.with_fingerprint(version.fingerprint_sha256) == version
        assert work.versions.with_fingerprint("ab") is None
