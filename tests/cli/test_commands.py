"""Every command against a control plane over HTTPS: what is asked, what is printed, and the exit status."""

import json
import re
from datetime import timedelta

import pytest

from certctl_cli.commands import certs, every_command
from certctl_core import __version__
from certctl_core.models.access import Role
from certctl_core.models.certificates import RevocationReason
from tests.cli.conftest import Certctl
from tests.serving import Plane
from tests.web.api import KEYS


def heads(certctl: Certctl, *words: str) -> list[str]:
    said = certctl(*words)
    assert said.status == 0, said.err
    return said.cells[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("certs list", "ID, COMMON NAME, STATUS, EXPIRES, ISSUER"),
        ("agents list", "ID, HOSTNAME, STATUS, OS, ARCHITECTURE, IP ADDRESS"),
        ("agents list --retired", "ID, HOSTNAME, OS, ARCHITECTURE, RETIRED AT, REASON"),
        ("jobs list", "ID, TYPE, CERTIFICATE, STATUS, ATTEMPTS"),
        ("issuers list", "ID, NAME, TYPE, ENABLED, TESTED"),
        ("targets list", "ID, NAME, TYPE, AGENT, ENABLED, TESTED"),
        ("audit list", "TIME, ACTOR, ACTION, RESOURCE, DETAILS"),
        ("loops", "LOOP, EVERY, LAST RUN, OUTCOME, TOOK, ITEMS, NEXT RUN, ERROR"),
    ],
)
def test_lists_have_their_columns(certctl: Certctl, words: str, expected: str) -> None:
    assert heads(certctl, *words.split()) == expected.split(", ")


def test_a_list_says_what_there_is_and_how_many(plane: Plane, certctl: Certctl) -> None:
    agent = plane.api.agent()
    plane.api.certificate(plane.api.target(agent), name="shop")
    plane.api.certificate(name="wiki")
    plane.api.issue(agent, "mc-shop")
    said = certctl("certs", "list", "--status", "Active")
    assert said.cells[1:] == [["mc-shop", "shop.example.com", "Active", "2031-06-02", "iss-local"]]
    assert said.err == "Total: 1\n"


def test_a_page_says_that_there_are_more(plane: Plane, certctl: Certctl) -> None:
    for name in ("a", "b", "c"):
        plane.api.certificate(name=name)
    first = certctl("certs", "list", "--per-page", "2")
    assert (len(first.cells), first.err) == (3, "Total: 3 (showing 1 to 2; --page 2 shows more)\n")
    second = certctl("certs", "list", "--per-page", "2", "--page", "2")
    assert (len(second.cells), second.err) == (2, "Total: 3 (showing 3 to 3)\n")
    third = certctl("certs", "list", "--per-page", "2", "--page", "3")
    assert (len(third.cells), third.err) == (1, "Total: 3 (none on page 3)\n")


def test_a_certificate_goes_through_its_life(plane: Plane, certctl: Certctl) -> None:
    agent = plane.api.agent()
    target = plane.api.target(agent)
    words = "certs create --common-name shop.example.com --owner-id o-1 --team-id t-1 --id mc-shop"
    more = f"--san www.example.com --san 192.0.2.7 --target-id {target} --tag tier=1 --environment production"
    created = certctl(*words.split(), *more.split())
    assert created.status == 0, created.err
    shown = dict(certctl("certs", "get", "mc-shop").cells)
    assert shown["SANs"] == "www.example.com, 192.0.2.7"
    assert (shown["Name"], shown["Status"], shown["Expires At"]) == ("shop.example.com", "Pending", "-")
    assert (shown["Target IDs"], shown["Tags"], shown["Policy ID"]) == (target, "tier=1", "rp-default")
    renewed = certctl("certs", "renew", "mc-shop")
    assert renewed.lines[0] == "Renewal of mc-shop started."
    assert renewed.cells[1][0] == "Job ID"
    job = renewed.cells[1][1]
    assert dict(certctl("jobs", "get", job).cells)["Status"] == "AwaitingCSR"
    assert certctl("certs", "renew", "mc-shop").status == 6
    assert certctl("certs", "renew", "mc-shop", "--force").status == 0
    assert plane.api.submit(agent, "mc-shop").status == 202
    (version,) = certctl("certs", "versions", "mc-shop").cells[1:]
    assert version[1:5] == ["2031-03-04T05:01:07Z", "2031-06-02T05:01:06Z", "ECDSA 256", agent.id]
    (deployment,) = certctl("certs", "deployments", "mc-shop").cells[1:]
    assert deployment[:4] == [target, "NGINX", agent.id, "never deployed"]
    revoked = certctl("certs", "revoke", "mc-shop", "--reason", "superseded")
    assert revoked.out == "Certificate mc-shop revoked: superseded.\n"
    assert dict(certctl("certs", "get", "mc-shop").cells)["Revocation Reason"] == "superseded"
    assert certctl("certs", "archive", "mc-shop").status == 0
    assert plane.api.get("/api/v1/certificates/mc-shop").json["status"] == "Archived"


@pytest.mark.parametrize(
    ("installed", "served", "said"),
    [
        ("", "", "never deployed"),
        ("aa", "", "not seen"),
        ("aa", "bb", "another served"),
        ("aa", "aa", "served"),
    ],
)
def test_deployed_means_served(installed: str, served: str, said: str) -> None:
    assert certs._state({"deployment": {"installed_fingerprint": installed, "served_fingerprint": served}}) == said


def test_the_reasons_are_those_that_the_server_takes() -> None:
    assert set(certs.REASONS) == {reason.value for reason in RevocationReason}


def test_jobs_can_be_cancelled_and_tried_again(plane: Plane, certctl: Certctl) -> None:
    agent = plane.api.agent()
    plane.api.certificate(plane.api.target(agent), name="shop")
    plane.api.issue(agent, "mc-shop")
    (job,) = certctl("jobs", "list", "--type", "Deployment", "--certificate-id", "mc-shop").cells[1:]
    plane.api.get(f"/api/v1/agents/{agent.id}/work", by=agent.key)
    status = f"/api/v1/agents/{agent.id}/jobs/{job[0]}/status"
    plane.api.made(status, {"status": "Running"}, by=agent.key)
    plane.api.made(status, {"status": "Failed", "error": "nginx said no"}, by=agent.key)
    assert dict(certctl("jobs", "get", job[0]).cells)["Last Error"] == "nginx said no"
    assert certctl("jobs", "retry", job[0]).out == f"Job {job[0]} will be tried again now.\n"
    assert certctl("jobs", "cancel", job[0]).out == f"Job {job[0]} cancelled.\n"
    assert dict(certctl("jobs", "get", job[0]).cells)["Status"] == "Cancelled"


def test_the_join_command_is_all_that_goes_through_a_pipe(plane: Plane, certctl: Certctl) -> None:
    said = certctl("agents", "token", "--name", "web 1", "--ttl", "2h")
    found = re.fullmatch(
        rf"certctl-agent join --server {plane.url} --token (cjt_\S+) --ca-fingerprint (sha256:[0-9a-f]{{64}}) "
        r"--name 'web 1'\n",
        said.out,
    )
    assert found is not None, said.out
    assert "until 2031-03-04T07:06:07Z" in said.err
    asked = {"token": found[1], "name": "web 1", "hostname": "web-1.test"}
    assert plane.api.post("/api/v1/agents/join", asked, by=None).status == 201


def test_an_agent_is_retired_with_what_depends_on_it_only_by_force(plane: Plane, certctl: Certctl) -> None:
    agent = plane.api.agent()
    plane.api.certificate(plane.api.target(agent), name="shop")
    blocked = certctl("agents", "retire", agent.id)
    assert blocked.status == 6
    assert "  1 active targets\n  1 active certificates\n" in blocked.err
    assert certctl("agents", "retire", agent.id, "--force").status == 1
    forced = certctl("agents", "retire", agent.id, "--force", "--reason", "scrapped")
    assert forced.lines[0] == f"Agent {agent.id} retired at 2031-03-04T05:06:07Z."
    assert dict(forced.cells[1:])["Active targets"] == "1"
    assert certctl("agents", "retire", agent.id).lines == [f"Agent {agent.id} was retired before."]
    retired = certctl("agents", "list", "--retired")
    assert retired.cells[1][-1] == "scrapped"
    assert retired.err == "Total retired: 1\n"
    assert dict(certctl("agents", "get", agent.id).cells)["Reason"] == "scrapped"


def test_the_audit_trail_can_be_narrowed(plane: Plane, certctl: Certctl) -> None:
    plane.api.certificate(name="shop")
    said = certctl("audit", "list", "--resource-type", "certificate", "--action", "certificate_created")
    (event,) = said.cells[1:]
    assert event[:4] == ["2031-03-04T05:06:07Z", "admin-person", "certificate_created", "certificate mc-shop"]
    assert certctl("audit", "list", "--resource-id", "mc-other").cells[1:] == []


def test_status_names_what_needs_somebody(plane: Plane, certctl: Certctl) -> None:
    assert certctl("status").lines[-1] == "Nothing needs attention."
    agent = plane.api.agent()
    plane.api.certificate(plane.api.target(agent), name="shop")
    plane.api.issue(agent, "mc-shop")
    job = certctl("jobs", "list", "--type", "Deployment").cells[1][0]
    plane.api.get(f"/api/v1/agents/{agent.id}/work", by=agent.key)
    status = f"/api/v1/agents/{agent.id}/jobs/{job}/status"
    plane.api.made(status, {"status": "Running"}, by=agent.key)
    plane.api.made(status, {"status": "Failed", "error": "nginx said no\nin line 3"}, by=agent.key)
    said = certctl("status")
    assert said.status == 0
    assert ["Certificates", "1", "0 expiring, 0 expired, 0 revoked"] in said.cells
    assert ["1 failed jobs", f"{job}: nginx said no", "certctl jobs list --status Failed"] in said.cells
    told = json.loads(certctl("--format", "json", "status").out)
    assert told["server"] == {"url": plane.url, "ready": True, "status": "ready", "version": __version__}
    assert told["attention"][0]["what"] == "1 failed jobs"


def test_status_names_what_should_have_been_renewed(plane: Plane, certctl: Certctl) -> None:
    agent = plane.api.agent()
    plane.api.certificate(plane.api.target(agent), name="shop")
    plane.api.issue(agent, "mc-shop")
    plane.api.clock.advance(timedelta(days=80))
    said = certctl("status")
    (late,) = [row for row in said.cells if row[0] == "1 renewals that should have happened"]
    assert late[1].startswith("mc-shop: since 2031-05-1")
    assert late[2] == "certctl stats overdue-renewals"
    assert "mc-shop" in certctl("stats", "overdue-renewals", "--format", "csv").out


def test_json_is_what_the_server_said(plane: Plane, certctl: Certctl) -> None:
    plane.api.certificate(name="shop")
    said = certctl("--format", "json", "certs", "get", "mc-shop")
    assert json.loads(said.out) == plane.api.get("/api/v1/certificates/mc-shop").json
    assert said.out.startswith('{\n  "id": "mc-shop"')
    listed = json.loads(certctl("--format", "json", "certs", "list").out)
    assert set(listed) == {"data", "total"}
    assert [row["id"] for row in listed["data"]] == ["mc-shop"]


@pytest.mark.parametrize("command", every_command(), ids=lambda command: command.name)
def test_every_command_has_help(anywhere: Certctl, command: object) -> None:
    name = getattr(command, "name", "")
    said = anywhere(*name.split(), "--help")
    assert said.status == 0
    assert said.out.startswith(f"usage: certctl {name}")


# What is refused


def test_a_refusal_is_told_with_what_to_do_and_a_status_of_its_own(certctl: Certctl) -> None:
    said = certctl("certs", "get", "mc-none")
    assert (said.status, said.out) == (5, "")
    assert said.err == "certctl: certificate 'mc-none' not found\nList the certificates to see which ids exist.\n"


def test_every_wrong_field_is_named(certctl: Certctl) -> None:
    said = certctl("certs", "create", "--common-name", "a b", "--owner-id", "?", "--team-id", "!")
    assert said.status == 1
    assert "owner_id" in said.err
    assert "team_id" in said.err


def test_an_id_stays_one_part_of_the_path(certctl: Certctl) -> None:
    said = certctl("certs", "get", "../agents?x#y")
    assert said.status == 5
    assert "../agents?x#y" in said.err


@pytest.mark.parametrize("key", ["", "cck_wrong", KEYS[Role.VIEWER]])
def test_a_key_that_may_not_is_told_so(certctl: Certctl, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTCTL_API_KEY", key)
    said = certctl("agents", "token")
    assert (said.status, said.out) == (4, "")
    assert "key" in said.err.lower()


@pytest.mark.parametrize(
    "words",
    [
        "",
        "certs",
        "fly",
        "certs fly",
        "certs list --page 0",
        "certs list --per-page 501",
        "certs revoke mc-1",
        "certs revoke mc-1 --reason because",
        "certs create --common-name a --owner-id o --team-id t --tag x",
        "agents token --ttl soon",
        "--format xml certs list",
        "certs li",
    ],
)
def test_what_makes_no_sense_is_status_2_and_asks_nobody(anywhere: Certctl, words: str) -> None:
    said = anywhere(*words.split())
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("usage: certctl")
