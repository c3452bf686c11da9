"""Renewal policies and renewals that should have happened, over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from certctl_core.usecases import renewal, watchdog
from tests.web.api import EVERY_STORE, Api

pytestmark = EVERY_STORE

POLICIES = "/api/v1/renewal-policies"


def test_a_policy_comes_back_as_it_was_given(fleet: Api) -> None:
    given = {
        "id": "rp-brief",
        "name": "Brief lives",
        "renewal_window_share": 0.5,
        "auto_renew": False,
        "max_retries": 5,
        "retry_interval_seconds": 60,
        "alert_thresholds_days": [3, 1, 0],
        "alert_channels": {"critical": ["PagerDuty", "Email"], "informational": []},
        "alert_severity_map": {"3": "informational", "0": "critical"},
    }
    made = fleet.made(POLICIES, given)
    assert made.items() >= given.items()
    assert made["renewal_window_days"] == 0
    read = fleet.get(f"{POLICIES}/rp-brief").json
    assert read == made
    assert fleet.put(f"{POLICIES}/rp-brief", read).json.items() >= given.items()  # as clients send it back

    changed = fleet.put(f"{POLICIES}/rp-brief", {"renewal_window_days": 20, "alert_channels": {}}).json
    assert changed["renewal_window_days"] == 20
    assert "renewal_window_share" not in changed
    assert "alert_channels" not in changed
    assert changed["alert_severity_map"] == given["alert_severity_map"]


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"renewal_window_share": 1}, ["renewal_window_share"]),
        ({"renewal_window_share": "half"}, ["renewal_window_share"]),
        ({"renewal_window_days": 30, "renewal_window_share": 0.5}, ["renewal_window_share"]),
        ({"renewal_window_days": 366, "max_retries": 11}, ["renewal_window_days", "max_retries"]),
        ({"retry_interval_seconds": 59}, ["retry_interval_seconds"]),
        ({"alert_thresholds_days": [30, 366]}, ["alert_thresholds_days[1]"]),
        ({"alert_channels": {"severe": ["Email"]}}, ["alert_channels.severe"]),
        ({"alert_channels": {"critical": ["Carrier pigeon"]}}, ["alert_channels.critical[0]"]),
        ({"alert_severity_map": {"366": "critical"}}, ["alert_severity_map.366"]),
        ({"alert_severity_map": {"soon": "critical"}}, ["alert_severity_map.soon"]),
        ({"alert_severity_map": {"30": "bad"}}, ["alert_severity_map.30"]),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_field(fleet: Api, given: dict[str, Any], fields: list[str]) -> None:
    refused = fleet.post(POLICIES, {"name": "odd"} | given)
    assert refused.status == 400
    assert refused.fields == fields


def test_what_should_have_been_renewed_is_listed_and_counted(fleet: Api) -> None:
    agent = fleet.agent()
    fleet.certificate(fleet.target(agent))
    fleet.issue(agent, "mc-site")
    assert fleet.get("/api/v1/stats/overdue-renewals").json == {"data": [], "total": 0, "page": 1, "per_page": 50}

    fleet.clock.advance(timedelta(days=70))
    renewal.sweep(fleet.ports)
    (listed,) = fleet.get("/api/v1/stats/overdue-renewals").json["data"]
    assert listed["certificate_id"] == "mc-site"
    assert listed["status"] == "RenewalInProgress"
    assert "reported_at" not in listed
    assert fleet.get("/api/v1/stats/summary").json["overdue_renewals"] == 1

    watchdog.report(fleet.ports)
    assert "reported_at" in fleet.get("/api/v1/stats/overdue-renewals?per_page=1").json["data"][0]
    fleet.post("/api/v1/certificates/mc-site/renew", {"force": True, "reason": "the agent was replaced"})
    fleet.submit(agent, "mc-site")
    assert fleet.get("/api/v1/stats/summary").json["overdue_renewals"] == 0
