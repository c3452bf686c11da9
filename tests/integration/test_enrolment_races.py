"""Devices that enrol at the same moment, over PostgreSQL: each key gets one certificate, a secret is used once."""

import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_adapters.together import InLines
from certctl_web.est import EstLabels, Kept
from certctl_web.options import Options
from tests.databases import DatabaseServer
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, Api, Reply, make_api, make_ports
from tests.web.est_world import Connection, basic, body, certificates, label, request

pytestmark = pytest.mark.integration

PATH = "/.well-known/est/simpleenroll"
AT_ONCE = 8


@pytest.fixture(scope="module")
def api(database_server: DatabaseServer, database_template: str) -> Iterator[Api]:
    url = database_server.create(database_template)
    clock = MovableClock()
    with open_pool(url, size=AT_ONCE) as pool:
        ports = make_ports(PostgresWork(pool), clock, together=InLines())
        made = make_api(Options(given_keys=GIVEN, rate=None, est=EstLabels.of([Kept(label())])), ports, clock)
        made.foundations()
        yield made
        made.app.close()
    database_server.drop(url)


def csr(name: str) -> bytes:
    return body(request(ec.generate_private_key(ec.SECP256R1()), name))


def all_at_once(api: Api, bodies: list[bytes], headers: dict[str, str]) -> list[Reply]:
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda sent: api.post(PATH, by=None, body=sent, headers=headers), bodies))


def listed(api: Api, name: str) -> int:
    return sum(one["common_name"] == name for one in api.get("/api/v1/certificates?per_page=500").json["data"])


def test_a_request_that_comes_many_times_at_once_is_one(api: Api) -> None:
    name = f"{secrets.token_hex(4)}.example.com"
    sent = csr(name)

    replies = all_at_once(api, [sent] * AT_ONCE, basic())

    assert {reply.status for reply in replies} <= {200, 202}
    given = {certificates(reply.content)[0].serial_number for reply in replies if reply.status == 200}
    given |= {certificates(api.post(PATH, by=None, body=sent, headers=basic()).content)[0].serial_number}
    assert len(given) == 1
    assert listed(api, name) == 1


def test_devices_that_come_at_once_each_get_their_own(api: Api) -> None:
    name = f"{secrets.token_hex(4)}.example.com"

    replies = all_at_once(api, [csr(name) for _ in range(AT_ONCE)], basic())

    assert {reply.status for reply in replies} == {200}
    assert len({certificates(reply.content)[0].serial_number for reply in replies}) == AT_ONCE
    assert listed(api, name) == AT_ONCE


def test_a_single_use_secret_that_many_show_at_once_is_used_once(api: Api) -> None:
    made = api.made("/api/v1/enrolment-secrets", {"protocol": "EST"})
    name = f"{secrets.token_hex(4)}.example.com"

    replies = all_at_once(api, [csr(name) for _ in range(AT_ONCE)], basic(made["secret"]))

    assert Counter(reply.status for reply in replies) == {200: 1, 401: AT_ONCE - 1}
    assert listed(api, name) == 1


def test_what_is_renewed_at_once_with_several_keys_gets_one_version_after_the_other(api: Api) -> None:
    """Each is answered: with its certificate, or that another request is under way."""
    name = f"{secrets.token_hex(4)}.example.com"
    first = api.post(PATH, by=None, body=csr(name), headers=basic())
    (shown,) = certificates(first.content)

    def renew(sent: bytes) -> Reply:
        extras = {"gunicorn.socket": Connection(shown)}
        return api.post("/.well-known/est/simplereenroll", by=None, body=sent, extras=extras)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        replies = list(threads.map(renew, [csr(name) for _ in range(AT_ONCE)]))
    statuses = Counter(reply.status for reply in replies)
    assert set(statuses) <= {200, 409}
    assert statuses[200] >= 1
    (one,) = [c for c in api.get("/api/v1/certificates?per_page=500").json["data"] if c["common_name"] == name]
    assert api.get(f"/api/v1/certificates/{one['id']}/versions").json["total"] == 1 + statuses[200]
