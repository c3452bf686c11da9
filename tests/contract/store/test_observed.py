"""What was found and what is watched, in any store."""

from collections.abc import Sequence

from attrs import evolve

from certctl_core.ids import CertificateId, DiscoveredId, ProbeId, ScanId
from certctl_core.models.observed import DiscoveredCertificate, DiscoveryStatus, HealthStatus, ProbeRecord
from certctl_core.ports.store import Query, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, SECOND, OpenWork


def seen(identity: str, scan_id: str, **fields: object) -> DiscoveredCertificate:
    return facts.discovered(identity, **{"discovery_scan_id": ScanId(scan_id)} | fields)


def everything(store: OpenWork) -> Sequence[DiscoveredCertificate]:
    with store() as work:
        return work.discovered.page(Query()).items


class TestDiscovery:
    def test_a_report_says_how_many_are_new(self, seeded: OpenWork) -> None:
        first = [seen("x", "dscan-1"), seen("y", "dscan-1")]
        with seeded() as work:
            assert work.discovered.report(facts.scan(certificates_found=2), first).certificates_new == 2
        again = [seen("x", "dscan-2"), seen("z", "dscan-2"), seen("z", "dscan-2", id=DiscoveredId("z-twice"))]
        with seeded() as work:
            assert work.discovered.report(facts.scan("dscan-2"), again).certificates_new == 1
            assert work.discovered.report(facts.scan("dscan-3"), []).certificates_new == 0
        with seeded() as work:
            scans = work.scans.page(Query(sort="started_at")).items
        assert {scan.id: scan.certificates_new for scan in scans} == {"dscan-1": 2, "dscan-2": 1, "dscan-3": 0}
        assert len(everything(seeded)) == 3

    def test_what_is_known_keeps_its_identity_and_what_was_decided(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.discovered.report(facts.scan(), [seen("x", "dscan-1")])
        with seeded() as work:
            known = work.discovered.get("x")
            work.discovered.save(evolve(known, status=DiscoveryStatus.DISMISSED, dismissed_at=AT))
        later = seen(
            "other-id",
            "dscan-2",
            fingerprint_sha256=known.fingerprint_sha256,
            source_path=known.source_path,
            common_name="now.known",
            first_seen_at=AT + DAY,
            last_seen_at=AT + DAY,
            created_at=AT + DAY,
            updated_at=AT + DAY,
        )
        with seeded() as work:
            work.discovered.report(facts.scan("dscan-2"), [later])
        assert everything(seeded) == (
            evolve(
                later,
                id=known.id,
                status=DiscoveryStatus.DISMISSED,
                dismissed_at=AT,
                first_seen_at=AT,
                created_at=AT,
                revision=3,
            ),
        )

    def test_what_nobody_decided_about_may_turn_out_to_be_managed(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate("mc-1"))
            work.discovered.report(facts.scan(), [seen("x", "dscan-1")])
        ours = {"status": DiscoveryStatus.MANAGED, "managed_certificate_id": CertificateId("mc-1")}
        with seeded() as work:
            work.discovered.report(facts.scan("dscan-2"), [seen("x", "dscan-2", **ours)])
        with seeded() as work:
            assert work.discovered.get("x").managed_certificate_id == "mc-1"
            assert work.discovered.count_by_status() == {DiscoveryStatus.MANAGED: 1}

    def test_the_same_certificate_in_two_places_is_two(self, seeded: OpenWork) -> None:
        twins = [seen("x", "dscan-1"), evolve(seen("x", "dscan-1"), id=DiscoveredId("y"), source_path="/elsewhere")]
        with seeded() as work:
            assert work.discovered.report(facts.scan(), twins).certificates_new == 2

    def test_scans_are_forgotten_and_what_they_found_stays(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.discovered.report(facts.scan(), [seen("x", "dscan-1")])
            work.discovered.report(facts.scan("dscan-2", started_at=AT + DAY), [])
        with seeded() as work:
            assert work.scans.forget(AT + HOUR, 10) == 1
            assert work.scans.forget(AT + HOUR, 10) == 0
        with seeded() as work:
            assert [scan.id for scan in work.scans.page(Query()).items] == ["dscan-2"]
            assert work.discovered.get("x").discovery_scan_id is None

    def test_versions_tell_whose_a_fingerprint_is(self, seeded: OpenWork) -> None:
        version = facts.version()
        with seeded() as work:
            work.certificates.add(facts.certificate("mc-1"))
            work.versions.add(version)
        with seeded() as work:
            fingerprints = [version.fingerprint_sha256, "00" * 32]
            assert work.versions.owners_of(fingerprints) == {version.fingerprint_sha256: "mc-1"}
            assert work.versions.owners_of([]) == {}


class TestEndpoints:
    def test_endpoints_are_counted_by_status(self, store: OpenWork) -> None:
        with store() as work:
            work.endpoints.add(facts.endpoint("hc-1"))
            work.endpoints.add(facts.endpoint("hc-2", status=HealthStatus.DOWN))
        with store() as work:
            counted = work.endpoints.count_by_status()
            down = work.endpoints.page(Query((Where("status", HealthStatus.DOWN),))).items
        assert counted == {**dict.fromkeys(HealthStatus, 0), HealthStatus.DOWN: 1, HealthStatus.UNKNOWN: 1}
        assert [one.id for one in down] == ["hc-2"]

    def test_the_history_is_newest_first_and_goes_with_its_endpoint(self, store: OpenWork) -> None:
        endpoint = facts.endpoint()
        probes = [
            ProbeRecord(
                id=ProbeId(f"probe-{n}"),
                health_check_id=endpoint.id,
                status=HealthStatus.HEALTHY,
                response_time_ms=n,
                fingerprint="aa",
                failure_reason="",
                checked_at=AT + n * SECOND,
            )
            for n in range(3)
        ]
        with store() as work:
            work.endpoints.add(endpoint)
            for probe in probes:
                work.probes.add(probe)
        with store() as work:
            assert list(work.probes.of(endpoint.id, 2)) == [probes[2], probes[1]]
            assert work.probes.forget(AT + SECOND, 10) == 1
            assert list(work.probes.of(endpoint.id, 10)) == [probes[2], probes[1]]
            work.endpoints.remove(endpoint.id)
        with store() as work:
            assert list(work.probes.of(endpoint.id, 10)) == []
