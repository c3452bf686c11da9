"""Certificates that are put under management at the same moment, over PostgreSQL: each as if it had come alone."""

import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_adapters.together import InLines
from certctl_web.options import Options
from tests.databases import DatabaseServer
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, Api, Reply, make_api, make_ports

pytestmark = pytest.mark.integration

AT_ONCE = 12


@pytest.fixture(scope="module")
def api(database_server: DatabaseServer, database_template: str) -> Iterator[Api]:
    url = database_server.create(database_template)
    clock = MovableClock()
    with open_pool(url, size=AT_ONCE) as pool:
        ports = make_ports(PostgresWork(pool), clock, together=InLines())
        made = make_api(Options(given_keys=GIVEN, rate=None), ports, clock)
        made.foundations()
        yield made
        made.app.close()
    database_server.drop(url)


def body(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "common_name": f"{name}.example.com",
        "owner_id": "o-1",
        "team_id": "t-1",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-default",
    } | more


def all_at_once(api: Api, bodies: list[dict[str, Any]]) -> list[Reply]:
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda sent: api.post("/api/v1/certificates", sent), bodies))


def test_of_several_with_one_name_one_is_created_and_all_others_are_told(api: Api) -> None:
    name = f"site-{secrets.token_hex(4)}"
    replies = all_at_once(api, [body(name) for _ in range(AT_ONCE)])
    assert Counter(reply.status for reply in replies) == {201: 1, 409: AT_ONCE - 1}
    assert all(name in reply.json["detail"] for reply in replies if reply.status == 409)


def test_what_is_wrong_with_one_does_no_harm_to_those_that_come_with_it(api: Api) -> None:
    names = [f"site-{secrets.token_hex(4)}" for _ in range(AT_ONCE)]
    bad: list[dict[str, Any]] = [{"owner_id": "o-nobody"}, {"sans": ["no name"]}, {"issuer_id": "iss-nowhere"}]
    bodies = [body(name, **(bad[place] if place < len(bad) else {})) for place, name in enumerate(names)]

    replies = all_at_once(api, bodies)

    assert [reply.status for reply in replies] == [400] * len(bad) + [201] * (AT_ONCE - len(bad))
    told = [[problem["field"] for problem in reply.json["fields"]] for reply in replies[: len(bad)]]
    assert told == [["owner_id"], ["sans[0]"], ["issuer_id"]]
    for name, reply in zip(names[len(bad) :], replies[len(bad) :], strict=True):
        assert reply.json["name"] == name
        (event,) = api.get(f"/api/v1/audit?action=certificate_created&resource_id={reply.json['id']}").json["data"]
        assert event["details"]["name"] == name
