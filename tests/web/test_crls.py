"""CRLs over HTTP: entity tags, dates, ranges, caching until nextUpdate, and what is said of them to administrators."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from attrs import evolve
from cryptography import x509

from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import Role
from certctl_core.models.crls import CrlRules
from certctl_core.pki import bundle, crl, reading
from certctl_core.pki.distribution import Place
from certctl_core.usecases import crls
from certctl_web.kept import KeptFiles
from tests.stand_ins import MovableClock
from tests.web.api import Api, make_api, make_ports

CRL = "/.well-known/pki/crl/iss-local"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def api(clock: MovableClock) -> Iterator[Api]:
    """A server with a Local CA, whose CRL is published."""
    made = make_api(clock=clock)
    made.made("/api/v1/issuers", {"id": "iss-local", "name": "Local CA", "type": "local"})
    crls.sweep(made.ports)
    yield made
    made.app.close()


def test_the_entity_tag_is_strong_and_that_of_the_bytes(api: Api) -> None:
    reply = api.get(CRL, by=None)
    assert reply.headers["etag"] == f'"{hashlib.sha256(reply.content).hexdigest()}"'
    assert reply.headers["content-length"] == str(len(reply.content))
    assert reply.headers["content-type"] == "application/pkix-crl"


@pytest.mark.parametrize("known", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
def test_who_has_it_is_told_so(api: Api, known: str) -> None:
    tag = api.get(CRL, by=None).headers["etag"]
    reply = api.get(CRL, by=None, headers={"If-None-Match": known.format(tag=tag)})
    assert (reply.status, reply.content) == (304, b"")
    assert reply.headers["etag"] == tag


def test_a_date_is_enough_unless_there_is_an_entity_tag(api: Api, clock: MovableClock) -> None:
    made = api.get(CRL, by=None).headers["last-modified"]
    assert api.get(CRL, by=None, headers={"If-Modified-Since": made}).status == 304
    assert api.get(CRL, by=None, headers={"If-Modified-Since": made, "If-None-Match": '"other"'}).status == 200
    assert api.get(CRL, by=None, headers={"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}).status == 200
    assert api.get(CRL, by=None, headers={"If-Modified-Since": "yesterday"}).status == 200


def test_a_copy_is_kept_for_an_hour_and_never_beyond_next_update(api: Api, clock: MovableClock) -> None:
    first = api.get(CRL, by=None)
    assert first.headers["cache-control"] == "public, max-age=3600, must-revalidate"
    assert parsedate_to_datetime(first.headers["expires"]) == clock.now().replace(microsecond=0) + timedelta(hours=1)
    clock.advance(timedelta(hours=23, minutes=30))
    assert api.get(CRL, by=None).headers["cache-control"] == "public, max-age=1800, must-revalidate"
    clock.advance(timedelta(hours=1))
    late = api.get(CRL, by=None)
    assert late.headers["cache-control"] == "public, max-age=0, must-revalidate"
    assert late.content == first.content


def test_head_says_what_get_would(api: Api) -> None:
    whole = api.get(CRL, by=None)
    head = api.call("HEAD", CRL, by=None)
    assert (head.status, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=7-", 7, None),
        ("bytes=-4", -4, None),
        ("bytes=0-99999", 0, None),
    ],
)
def test_a_range_is_a_part_of_it(api: Api, asked: str, first: int, end: int | None) -> None:
    whole = api.get(CRL, by=None).content
    reply = api.get(CRL, by=None, headers={"Range": asked})
    assert reply.status == 206
    assert reply.content == whole[first:end]
    begin = first % len(whole)
    assert reply.headers["content-range"] == f"bytes {begin}-{begin + len(reply.content) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=9-3", "bytes=-", "bytes=1-2,4-5", "lines=1-2"])
def test_a_range_that_is_not_understood_is_the_whole(api: Api, asked: str) -> None:
    assert api.get(CRL, by=None, headers={"Range": asked}).status == 200


def test_a_range_of_another_one_is_the_whole(api: Api) -> None:
    headers = {"Range": "bytes=0-3", "If-Range": '"old"'}
    assert api.get(CRL, by=None, headers=headers).status == 200


def test_there_is_nothing_behind_the_end(api: Api) -> None:
    size = len(api.get(CRL, by=None).content)
    reply = api.get(CRL, by=None, headers={"Range": f"bytes={size}-"})
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{size}")


def test_the_same_crl_has_the_name_of_its_ca(api: Api) -> None:
    (row,) = api.get("/api/v1/admin/crl/cache").json["cache_rows"]
    assert api.get(f"{CRL}/{row['authority_key_id']}", by=None).content == api.get(CRL, by=None).content


@pytest.mark.parametrize("path", ["/p1", "/nothing", "/p0", "/00", "/delta", "/p1/delta"])
def test_what_no_certificate_names_is_not_there(api: Api, path: str) -> None:
    assert api.get(CRL + path, by=None).status == 404


def test_a_delta_is_served_beside_it(api: Api) -> None:
    crls.sweep(api.ports)
    ports = evolve(api.ports, crls=CrlRules(deltas_from=0))
    stored = crls.published(ports, "iss-local", Place())
    assert stored is not None
    with ports.work() as work:
        work.crls.touch(stored.scope, ports.clock.now())
    crls.sweep(ports)
    reply = api.get(f"{CRL}/delta", by=None)
    delta = x509.load_der_x509_crl(reply.content)
    assert delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert reply.headers["cache-control"] == "public, max-age=60, must-revalidate"


def test_administrators_see_what_is_published(api: Api, clock: MovableClock) -> None:
    told = api.get("/api/v1/admin/crl/cache").json
    assert told["row_count"] == 1
    (row,) = told["cache_rows"]
    assert row["issuer_id"] == "iss-local"
    assert (row["cache_present"], row["is_stale"], row["failures"]) == (True, False, 0)
    assert (row["crl_number"], row["revoked_count"], row["partition"]) == (1, 0, 0)
    (event,) = row["recent_events"]
    assert (event["succeeded"], event["crl_number"]) == (True, 1)
    clock.advance(timedelta(hours=13))
    assert api.get("/api/v1/admin/crl/cache").json["cache_rows"][0]["is_stale"]
    assert api.get("/api/v1/admin/crl/cache", by=Role.OPERATOR).status == 403


def test_monitoring_sees_that_one_is_late(api: Api, clock: MovableClock) -> None:
    clock.advance(timedelta(hours=25))
    gauge = api.get("/api/v1/metrics").json["gauge"]
    assert (gauge["crl_failing"], gauge["crl_ended"]) == (0, 1)
    assert gauge["crl_late_seconds"] == 13 * 3600


def test_a_crl_that_is_asked_for_often_is_read_once(api: Api) -> None:
    stored = crls.published(api.ports, "iss-local", Place())
    assert stored is not None
    files, reads = KeptFiles(2), []

    def read() -> Iterator[bytes]:
        reads.append(1)
        return crls.content(api.ports, stored)

    first, second = files.get(stored, read), files.get(stored, read)
    assert first is second
    assert first is not None
    assert b"".join(first.read(0, stored.size)) == api.get(CRL, by=None).content
    assert len(reads) == 1


def test_a_crl_that_was_replaced_while_it_was_read_is_not_kept(api: Api) -> None:
    stored = crls.published(api.ports, "iss-local", Place())
    assert stored is not None
    assert KeptFiles(2).get(stored, lambda: [b"half"]) is None


def test_of_many_only_the_last_few_are_kept(api: Api) -> None:
    stored = crls.published(api.ports, "iss-local", Place())
    assert stored is not None
    files, reads = KeptFiles(1), []

    def read(text: bytes) -> list[bytes]:
        reads.append(text)
        return [text]

    one, two = evolve(stored, digest="1", size=1), evolve(stored, digest="2", size=1)
    for found, text in ((one, b"1"), (two, b"2"), (two, b"2"), (one, b"1")):
        assert files.get(found, lambda text=text: read(text)) is not None  # type: ignore[misc]
    assert reads == [b"1", b"2", b"1"]


def test_in_a_rollover_each_leaf_names_the_crl_of_its_own_ca(clock: MovableClock) -> None:
    here = "https://ca.test"
    api = make_api(ports=make_ports(MemoryStore().work, clock, public_url=here), clock=clock)
    api.foundations()
    agent = api.agent()

    def issued(name: str) -> x509.Certificate:
        certificate = api.certificate(api.target(agent, name), name=name)["id"]
        assert api.issue(agent, certificate).status == 202
        version = api.get(f"/api/v1/certificates/{certificate}/versions").json["data"][0]
        return bundle.from_pem(version["pem_chain"])[0]

    before = issued("before")
    made = api.made("/api/v1/issuers/iss-local/intermediates", {"name": "Second CA"})
    api.made(f"/api/v1/intermediates/{made['id']}/activate", {})
    clock.advance(timedelta(seconds=1))
    after = issued("after")
    for name in ("before", "after"):
        api.made(f"/api/v1/certificates/mc-{name}/revoke", {"reason": "superseded"})
    crls.sweep(api.ports)

    urls = []
    for leaf in (before, after):
        (url,) = reading.facts(leaf).crl_urls
        signed = crl.read(api.get(url.removeprefix(here), by=None).content)
        assert [entry.serial_number for entry in signed] == [leaf.serial_number]
        assert signed.issuer == leaf.issuer
        urls.append(url)
    identifier = reading.facts(after).authority_key_identifier
    assert identifier is not None
    assert urls == [f"{here}{CRL}", f"{here}{CRL}/{identifier.hex()}"]
    api.app.close()
