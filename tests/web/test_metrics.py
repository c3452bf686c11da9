"""Figures for monitoring."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certctl_core.models.access import Role
from certctl_core.ports.store import Query, Where
from certctl_web.process import MEASUREMENTS, shared_measurements
from tests.web.api import Api

PROMETHEUS = "/api/v1/metrics/prometheus"

NAMES = {
    "certctl_certificate_total": "gauge",
    "certctl_certificate_active": "gauge",
    "certctl_certificate_expiring_soon": "gauge",
    "certctl_certificate_expired": "gauge",
    "certctl_certificate_revoked": "gauge",
    "certctl_agent_total": "gauge",
    "certctl_agent_online": "gauge",
    "certctl_job_pending": "gauge",
    "certctl_job_completed_total": "counter",
    "certctl_job_failed_total": "counter",
    "certctl_notification_dead_total": "counter",
    "certctl_uptime_seconds": "gauge",
}
"""Those of the established API."""


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def scraped(api: Api) -> dict[tuple[str, ...], float]:
    return samples(api.get(PROMETHEUS).content.decode())


def test_every_name_of_the_established_api_is_there_with_its_type(fleet: Api) -> None:
    reply = fleet.get(PROMETHEUS, by=Role.VIEWER)
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.content.decode().splitlines()
    assert {f"# TYPE {name} {kind}" for name, kind in NAMES.items()} <= set(lines)


def test_both_tell_of_the_fleet_as_it_is(fleet: Api) -> None:
    agent = fleet.agent()
    target = fleet.target(agent)
    for name in ("a", "b"):
        fleet.certificate(target, name=name)
        fleet.issue(agent, f"mc-{name}")
    fleet.made("/api/v1/certificates/mc-b/revoke", {"reason": "superseded"})
    fleet.clock.advance(timedelta(minutes=5))
    told = fleet.get("/api/v1/metrics").json
    assert told["gauge"] == {
        "certificate_total": 2,
        "certificate_active": 1,
        "certificate_expiring_soon": 0,
        "certificate_expired": 0,
        "certificate_revoked": 1,
        "certificate_overdue": 0,
        "agent_total": 1,
        "agent_online": 1,
        "job_pending": 1,
        "crl_failing": 0,
        "crl_ended": 0,
        "crl_late_seconds": 300,
    }
    assert told["counter"]["job_completed_total"] == 2
    assert told["uptime"]["uptime_seconds"] == 300
    found = scraped(fleet)
    assert found[("certctl_certificate_revoked",)] == 1
    assert found[("certctl_job_completed_total",)] == 2
    assert found[("certctl_uptime_seconds",)] == 300


def test_requests_are_measured_by_operation_and_class_of_status(fleet: Api) -> None:
    def counted(operation: str, status: str) -> float:
        return scraped(fleet).get(("certctl_http_request_duration_seconds_count", operation, status), 0)

    good, bad = counted("get_team", "2xx"), counted("get_team", "4xx")
    fleet.get("/api/v1/teams/t-1")
    fleet.get("/api/v1/teams/nobody")
    assert (counted("get_team", "2xx"), counted("get_team", "4xx")) == (good + 1, bad + 1)


def test_scrapes_are_not_among_the_recorded_calls(fleet: Api) -> None:
    for path in ("/api/v1/metrics", PROMETHEUS, "/api/v1/teams"):
        assert fleet.get(path, by=Role.VIEWER).status == 200
    fleet.app.close()
    with fleet.ports.work() as work:
        page = work.calls.page(Query((Where("resource_type", "api"), Where("actor", "viewer-person"))))
    assert [call.details["path"] for call in page.items] == ["/api/v1/teams"]


def test_who_sees_a_part_of_the_fleet_is_told_no_totals(fleet: Api) -> None:
    key = fleet.made("/api/v1/api-keys", {"name": "theirs", "role": "viewer", "team_ids": ["t-1"]})["key"]
    assert fleet.get(PROMETHEUS, by=key).status == 403
    assert fleet.get(PROMETHEUS, by=None).status == 401


MEASURE = """
from datetime import timedelta
from certctl_web import metrics
meter = metrics.PrometheusMeter()
meter.issued("local", "issued", timedelta(seconds=2))
meter.deployed("failed", timedelta(seconds=3))
metrics.ran("renewal_check", "completed", timedelta(milliseconds=20))
metrics.answered("", 404, 0.5)
"""

TELL = """
from prometheus_client import generate_latest
from certctl_web import metrics
print(generate_latest(metrics._of_all_processes()).decode())
"""


def test_what_several_processes_measure_is_added_up() -> None:
    def said(program: str) -> str:
        return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    with shared_measurements():
        for _ in range(3):
            said(MEASURE)
        found = samples(said(TELL))
    assert found[("certctl_issuance_duration_seconds_count", "local", "issued")] == 3
    assert found[("certctl_issuance_duration_seconds_sum", "local", "issued")] == 6
    assert found[("certctl_deployment_duration_seconds_count", "failed")] == 3
    assert found[("certctl_loop_duration_seconds_count", "renewal_check", "completed")] == 3
    assert found[("certctl_http_request_duration_seconds_count", "none", "4xx")] == 3


def test_the_folder_goes_with_its_process_unless_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(MEASUREMENTS, raising=False)
    with shared_measurements():
        made = Path(os.environ[MEASUREMENTS])
        assert made.is_dir()
    assert not made.exists()
    monkeypatch.setenv(MEASUREMENTS, str(tmp_path))
    with shared_measurements():
        assert os.environ[MEASUREMENTS] == str(tmp_path)
    assert tmp_path.is_dir()
