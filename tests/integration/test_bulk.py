"""Bulk operations on PostgreSQL: processes that are killed, processes that meet, and what a batch costs."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.models.certificates import CertificateStatus
from certctl_core.ports.store import Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, OpenWork

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

COUNT = 1500
KILLED = -signal.SIGKILL


@pytest.fixture
def fleet(database_url: str) -> Iterator[OpenWork]:
    """Certificates that are in use."""
    with open_pool(database_url, size=2) as pool:
        with PostgresWork(pool)() as work:
            facts.seed(work)
            fill(work)
        yield PostgresWork(pool)


def fill(work: Work) -> None:
    numbers = range(COUNT)
    work.certificates.add_many(
        [
            facts.certificate(f"mc-{n}", status=CertificateStatus.ACTIVE, expires_at=AT + 90 * DAY, generation=1)
            for n in numbers
        ]
    )
    work.versions.add_many([facts.version(f"certver-{n}", certificate_id=f"mc-{n}") for n in numbers])


class Processes:
    """One after the other, each a minute later than the one before by its own clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.moment = AT

    def begin(self, what: str, point: str = "") -> "subprocess.Popen[bytes]":
        self.moment += timedelta(minutes=1)
        return self.beside(what, self.moment, point)

    def beside(self, what: str, moment: datetime, point: str = "") -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.bulk_process", self.url, moment.isoformat(), what]
        return subprocess.Popen([*command, *([point] if point else [])])


def each_exactly_once(url: str) -> None:
    with psycopg.connect(url) as connection:

        def count(text: str) -> Counter[int]:
            rows = connection.execute(text).fetchall()
            return Counter(int(row[0]) for row in rows)

        once = Counter({1: COUNT})
        by_certificate = "SELECT count(*) FROM {} {} GROUP BY {}"
        events = ("audit_events", "WHERE action = 'certificate_revoked'", "resource_id")
        assert count(by_certificate.format(*events)) == once
        assert count(by_certificate.format("certificate_revocations", "", "certificate_id")) == once
        assert count("SELECT revocations FROM revocation_counts") == Counter({COUNT: 1})
        operations = connection.execute(
            "SELECT status, total_matched, total_done, total_skipped, total_failed FROM bulk_operations"
        ).fetchall()
        assert operations == [("Completed", COUNT, COUNT, 0, 0)]
        assert connection.execute("SELECT count(*) FROM bulk_operation_batches").fetchone() == (0,)
        initiated = "SELECT count(*) FROM audit_events WHERE action = 'bulk_revocation_initiated'"
        assert connection.execute(initiated).fetchone() == (1,)


@pytest.mark.parametrize("point", ["bulk:1:1", "bulk:2:1", "bulk:2:5", "bulk:2:6"])
def test_a_process_killed_at_this_point_loses_and_doubles_nothing(
    fleet: OpenWork, database_url: str, point: str
) -> None:
    processes = Processes(database_url)
    assert processes.begin("start", point).wait() == KILLED
    assert processes.begin("carry_on", "bulk:2:2").wait() in (KILLED, 0)
    assert processes.begin("carry_on").wait() == 0
    each_exactly_once(database_url)


def test_processes_killed_at_random_moments_lose_and_double_nothing(fleet: OpenWork, database_url: str) -> None:
    chance = random.Random()  # noqa: S311 - chooses moments, guards nothing
    processes = Processes(database_url)
    running = processes.begin("start")
    while not operations(database_url):
        time.sleep(0.01)
    for _ in range(6):
        time.sleep(chance.uniform(0, 0.3))
        running.kill()
        running.wait()
        running = processes.begin("carry_on")
    assert running.wait() == 0
    assert processes.begin("carry_on").wait() == 0
    each_exactly_once(database_url)


def operations(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM bulk_operations").fetchone()
    return int(row[0]) if row else 0


def test_processes_that_do_not_respect_a_lease_double_nothing_either(fleet: OpenWork, database_url: str) -> None:
    """The clocks of four processes differ so much that each takes the leases of the others for lapsed."""
    processes = Processes(database_url)
    assert processes.begin("start", "bulk:1:1").wait() == KILLED
    begun = [processes.begin("carry_on") for _ in range(4)]
    assert [process.wait() for process in begun] == [0] * 4
    each_exactly_once(database_url)
