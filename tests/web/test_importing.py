"""Import over HTTP."""

from typing import Any

import pytest

from certctl_core.models.access import Role
from certctl_core.usecases import importing
from certctl_web.options import Options
from tests.strangers import authority, certificate, fleet, pem
from tests.web.api import EVERY_STORE, GIVEN, Api, make_api

pytestmark = EVERY_STORE
IMPORT = "/api/v1/certificates/import"


def body(*pems: str, **more: Any) -> dict[str, Any]:
    return {
        "owner_id": "o-1",
        "team_id": "t-1",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-default",
        "certificates": [{"pem": one} for one in pems],
    } | more


def test_what_is_imported_skipped_and_failed_is_told_by_index(api: Api) -> None:
    api.foundations()
    one, other = fleet(2)
    answer = api.made(IMPORT, body(one, "rubbish", other, one, pem(authority())), by=Role.OPERATOR)
    totals = {"total_imported": 2, "total_skipped": 2, "total_failed": 1}
    assert {name: answer[name] for name in totals} == totals
    assert [entry["index"] for entry in answer["imported"]] == [0, 2]
    assert [entry["index"] for entry in answer["skipped"]] == [3, 4]
    assert answer["failed"] == [{"index": 1, "error": "there is no certificate in PEM"}]
    first = answer["imported"][0]
    assert first.keys() == {"index", "id", "name", "serial_number", "fingerprint_sha256", "is_foreign"}
    shown = api.get(f"/api/v1/certificates/{first['id']}").json
    assert (shown["name"], shown["source"], shown["environment"]) == ("site-0.example.org", "Import", "imported")
    (version,) = api.get(f"/api/v1/certificates/{first['id']}/versions").json["data"]
    assert version["pem_chain"] == one
    assert (version["serial_number"], version["fingerprint_sha256"]) == (
        first["serial_number"],
        first["fingerprint_sha256"],
    )
    again = api.made(IMPORT, body(one, other))
    assert (again["imported"], again["total_skipped"]) == ([], 2)
    assert again["skipped"][0]["certificate_id"] == first["id"]


def test_the_established_client_may_send_its_defaults(api: Api) -> None:
    api.foundations()
    more = {"name_template": "{cn}", "environment": "", "certificate_profile_id": "", "tags": None}
    (made,) = api.made(IMPORT, body(*fleet(1), **more))["imported"]
    assert api.get(f"/api/v1/certificates/{made['id']}").json["environment"] == "imported"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"certificates": []}, "certificates"),
        ({"certificates": [{"pem": "x"}] * (importing.MOST + 1)}, "certificates"),
        ({"certificates": [{}]}, "certificates[0].pem"),
        ({"certificates": [{"pem": ""}]}, "certificates[0].pem"),
        ({"certificates": [{"pem": "x", "password": "y"}]}, "certificates[0].password"),
        ({"certificates": [{"pem": "x", "source": "a\nb"}]}, "certificates[0].source"),
        ({"owner_id": None}, "owner_id"),
        ({"name_template": "{host}"}, "name_template"),
        ({"certificate_profile_id": "prof-none"}, "certificate_profile_id"),
        ({"issuer_id": "iss-none"}, "issuer_id"),
        ({"tags": {"a": 1}}, "tags.a"),
    ],
)
def test_what_is_wrong_with_the_whole_is_named(api: Api, more: dict[str, Any], field: str) -> None:
    api.foundations()
    reply = api.post(IMPORT, body("x", **more))
    assert (reply.status, reply.fields) == (400, [field])
    assert api.get("/api/v1/certificates").json["total"] == 0


def test_a_body_over_the_limit_says_how_large_one_may_be(api: Api) -> None:
    small = make_api(Options(given_keys=GIVEN, rate=None, max_body_size=4096), api.ports, api.clock)
    reply = small.post(IMPORT, body(*fleet(9)))
    assert (reply.status, "4096 bytes" in reply.json["message"]) == (413, True)
    assert "less at once" in reply.json["hint"]


def test_what_would_obey_a_terminal_is_not_shown(api: Api) -> None:
    api.foundations()
    (made,) = api.made(IMPORT, body(pem(certificate("a\x1b[2Jb"))))["imported"]
    shown = api.get(f"/api/v1/certificates/{made['id']}").json
    assert (made["name"], shown["common_name"]) == ("a?[2Jb", "a?[2Jb")
