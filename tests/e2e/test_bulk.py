"""Bulk operations on a real server that is killed in the middle: they go on, and each certificate has its turn once."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from demo.processes import wait_for
from demo.show import Show
from demo.stage import Stage

from tests.e2e.test_crash import _let_others_pass
from tests.strangers import fleet

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

COUNT = 1500
IN_A_REQUEST = 500


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server with certificates that were imported."""
    home = tmp_path_factory.mktemp("bulk")
    _let_others_pass(home)
    stage = Stage(home, Show())
    try:
        restart(stage)
        stage.read_admin_key()
        for number in (1, 2):
            stage.api.post("/api/v1/owners", {"id": f"o-{number}", "name": f"Owner {number}"})
        pems = fleet(COUNT)
        for begin in range(0, COUNT, IN_A_REQUEST):
            some = [{"pem": pem} for pem in pems[begin : begin + IN_A_REQUEST]]
            body = {
                "owner_id": "o-1",
                "team_id": "t-default",
                "issuer_id": "iss-local",
                "renewal_policy_id": "rp-default",
                "certificates": some,
            }
            assert stage.api.post("/api/v1/certificates/import", body)["total_imported"] == len(some)
        yield stage
    finally:
        stage.stop()


def restart(stage: Stage, **environment: str) -> None:
    often = {"CERTCTL_SCHEDULER_BULK_INTERVAL": "1s"}
    stage.server.environment = {**stage.environment(), **often, **environment}
    stage.start_server()


def operation(stage: Stage) -> dict[str, Any]:
    """The newest."""
    found: dict[str, Any] = stage.api.get("/api/v1/bulk-operations?per_page=1")["data"][0]
    return found


def completed(stage: Stage) -> dict[str, Any] | None:
    stage.server.must_run()
    found = operation(stage)
    return found if found["status"] == "Completed" else None


def owned_by(stage: Stage, owner: str) -> int:
    return int(stage.api.get(f"/api/v1/certificates?owner_id={owner}&per_page=1")["total"])


def reassign(stage: Stage) -> None:
    """From one owner to the other."""
    before, after = ("o-1", "o-2") if owned_by(stage, "o-1") else ("o-2", "o-1")
    stage.api.post("/api/v1/certificates/bulk-reassign", {"from_owner_id": before, "owner_id": after})


def each_exactly_once(stage: Stage, owner: str, since: str) -> None:
    events: Counter[str] = Counter()
    page = 1
    while True:
        path = f"/api/v1/audit?action=certificate_updated&since={since}&per_page=500&page={page}"
        found = stage.api.get(path)["data"]
        events.update(event["resource_id"] for event in found)
        if len(found) < 500:
            break
        page += 1
    assert (len(events), set(events.values())) == (COUNT, {1})
    assert owned_by(stage, owner) == COUNT


@pytest.mark.parametrize("point", ["bulk:1", "bulk:2:3"])
def test_a_server_killed_in_the_middle_goes_on_where_it_was(stage: Stage, point: str) -> None:
    stage.server.stop()
    restart(stage, CERTCTL_TRIPWIRE=point)
    with pytest.raises(OSError, match=r"closed|reset"):
        reassign(stage)
    stage.server.kill_with_children()

    restart(stage)

    begun = operation(stage)
    assert begun["status"] == "Running"
    assert begun["total_done"] < COUNT
    done = wait_for("the end of the operation", lambda: completed(stage), patience=90, pause=0.3)
    assert (done["id"], done["total_done"], done["total_skipped"], done["total_failed"]) == (begun["id"], COUNT, 0, 0)
    each_exactly_once(stage, begun["new_owner_id"], begun["created_at"])


def test_a_server_killed_at_any_moment_goes_on_where_it_was(stage: Stage) -> None:
    reply = stage.api.post("/api/v1/certificates/bulk-renew", {"environment": "imported", "reason": "a drill"})
    while reply.get("status") == "Running" and operation(stage)["status"] == "Running":
        time.sleep(0.2)
        stage.server.kill_with_children()
        restart(stage)
        wait_for("an answer", stage.is_ready)
    ended = wait_for("the end of the operation", lambda: completed(stage), patience=90, pause=0.3)
    assert (ended["total_matched"], ended["total_failed"], ended["total_done"]) == (COUNT, COUNT, 0)
    failures = stage.api.get(f"/api/v1/bulk-operations/{ended['id']}/failures?per_page=2")
    assert failures["total"] == COUNT
    assert "no target" in failures["data"][0]["error"]
