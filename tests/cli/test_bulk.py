"""Many certificates at once, and waiting for the end."""

import json
from typing import Any

import pytest
from attrs import define, field

from certctl_cli.commands import bulk
from tests.cli.conftest import Certctl
from tests.serving import Plane


def shown(out: str) -> dict[str, str]:
    return dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)


@pytest.fixture
def three(plane: Plane) -> list[str]:
    """Certificates that were issued."""
    agent = plane.api.agent()
    target = plane.api.target(agent)
    names = ["a", "b", "c"]
    for name in names:
        plane.api.certificate(target, name=name, environment="production" if name != "c" else "staging")
        plane.api.issue(agent, f"mc-{name}")
    return [f"mc-{name}" for name in names]


def test_certificates_that_are_named_are_revoked(plane: Plane, certctl: Certctl, three: list[str]) -> None:
    said = certctl("certs", "bulk-revoke", *three[:2], "--reason", "superseded")
    assert said.status == 0, said.err
    assert shown(said.out) == {"Matched": "2", "Revoked": "2", "Skipped": "0", "Failed": "0"}
    assert plane.api.get("/api/v1/certificates/mc-a").json["status"] == "Revoked"
    again = certctl("certs", "bulk-revoke", *three, "--reason", "superseded")
    assert shown(again.out)["Revoked"] == "1"


def test_certificates_that_flags_choose_are_renewed(plane: Plane, certctl: Certctl, three: list[str]) -> None:
    said = certctl("certs", "bulk-renew", "--environment", "production")
    assert shown(said.out) == {"Matched": "2", "Enqueued": "2", "Skipped": "0", "Failed": "0"}
    assert plane.api.get("/api/v1/certificates/mc-b").json["status"] == "RenewalInProgress"


def test_certificates_are_given_to_somebody_else(plane: Plane, certctl: Certctl, three: list[str]) -> None:
    plane.api.made("/api/v1/owners", {"id": "o-2", "name": "Nils", "team_id": "t-1"})
    said = certctl("certs", "bulk-reassign", "mc-a", "--owner-id", "o-2")
    assert shown(said.out)["Reassigned"] == "1"
    assert plane.api.get("/api/v1/certificates/mc-a").json["owner_id"] == "o-2"


def test_nothing_chosen_is_not_everything(certctl: Certctl) -> None:
    for words in (("bulk-revoke",), ("bulk-renew", "--force"), ("bulk-reassign", "--owner-id", "o-1")):
        said = certctl("certs", *words)
        assert said.status == 2
        assert "which certificates?" in said.err


@define
class Slow:
    """A server whose operation takes three looks."""

    url: str = "https://localhost"
    looks: list[str] = field(factory=list)

    def get(self, path: str, **query: Any) -> Any:
        self.looks.append(path)
        if path.endswith("/failures"):
            return {"data": [{"certificate_id": "mc-x", "error": "it is archived"}]}
        done = len(self.looks)
        status = "Completed" if done == 3 else "Running"
        return {"id": "bulk-1", "status": status, "total_matched": 3, "total_done": done - 1, "total_failed": 1}


def test_waiting_looks_until_the_end_and_asks_what_failed() -> None:
    server, pauses = Slow(), []
    told = {"operation_id": "bulk-1", "status": "Running", "total_matched": 3}
    ended = bulk.wait(server, "revoke", told, pauses.append)  # type: ignore[arg-type]
    assert (ended["status"], ended["errors"]) == ("Completed", [{"certificate_id": "mc-x", "error": "it is archived"}])
    assert (len(server.looks), len(pauses)) == (4, 2)
    result = bulk._shown("revoke", ended)
    assert result.failed
    assert json.dumps(result.data)


def test_what_goes_on_says_how_to_look_again() -> None:
    result = bulk._shown("renew", {"operation_id": "bulk-1", "status": "Running", "total_matched": 3})
    assert "certctl bulk-operations get bulk-1" in str(result.views[-1])
    assert not result.failed
