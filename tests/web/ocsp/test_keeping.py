"""A desk that is kept up by threads, over a real database, as a process of the plain listener has it."""

import time
from collections.abc import Callable

import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ocsp
from certctl_core.usecases import revocation
from certctl_web.ocsp.desk import OcspDesk
from certctl_web.ocsp.keeping import Keeping
from tests.core.usecases.world import ADMIN, World, make_world

pytestmark = pytest.mark.integration


def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def issue(world: World) -> str:
    certificate = world.certificate(world.target(world.agent()))
    with world.ports.work() as work:
        agent = work.agents.get("agent-web-1")
    version = world.issued(certificate, agent).version
    assert version is not None
    return version.serial_number


def test_what_another_process_revokes_is_told_within_a_second_from_memory(database_url: str) -> None:
    with open_pool(database_url, size=4) as pool:
        world = make_world(PostgresWork(pool))
        serial = issue(world)
        desk = OcspDesk(world.ports)
        keeping = Keeping(desk, ahead=True)
        request = ocsp.request_about(world.ca.authority.certificate, serial)

        def status() -> str:
            return desk.answer("iss-local", request).status

        keeping.start()
        try:
            # Signed ahead: it is there before anybody has asked.
            until(lambda: any(serial in key for key in desk._answers), 20)
            assert status() == "good"
            for reason in (RevocationReason.CERTIFICATE_HOLD, None, RevocationReason.SUPERSEDED):
                if reason is None:
                    revocation.release(world.ports, ADMIN, "mc-site")
                else:
                    revocation.revoke(world.ports, ADMIN, "mc-site", reason)
                expected = "good" if reason is None else "revoked"
                until(lambda expected=expected: status() == expected, 1.0)
        finally:
            keeping.stop()
        assert all(not thread.is_alive() for thread in keeping._threads)
