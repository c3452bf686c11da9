"""Discovery, network scan targets and health checks."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import Forbidden, Gone, Invalid, NotConfigured, NotFound
from certctl_core.ids import AgentId, CertificateId, EndpointId, TeamId
from certctl_core.models.access import Principal, Scope
from certctl_core.models.observed import DiscoveryStatus, HealthStatus
from certctl_core.pki import bundle, reading
from certctl_core.ports.store import Query
from certctl_core.ports.world import Seen
from certctl_core.usecases import agents, discovery, endpoints, network_scans
from tests.core.usecases.world import ADMIN, World, as_agent

ELSEWHERE = evolve(ADMIN, scope=Scope(team_ids=frozenset({TeamId("team-elsewhere")})))
HERE = evolve(ADMIN, scope=Scope(team_ids=frozenset({TeamId("team-1")})))


def agent_of(world: World) -> Principal:
    return as_agent(world.agent())


def found(world: World, **more: Any) -> discovery.Found:
    certificate = world.ca.authority.certificate
    values = {"fingerprint_sha256": reading.fingerprint(certificate), "pem_data": bundle.to_pem(certificate)}
    return discovery.Found(**values | {"source_path": "/etc/ssl/ca.pem", "serial_number": "0A:FF"} | more)


class TestDiscovery:
    def test_what_an_agent_finds_is_unmanaged_until_somebody_decides(self, world: World) -> None:
        agent = agent_of(world)
        asked = discovery.Report(directories=("/etc/ssl",), certificates=(found(world),), errors=("/root: denied",))
        scan = discovery.report(world.ports, agent, AgentId(agent.name), asked)
        assert (scan.certificates_found, scan.certificates_new, scan.errors_count) == (1, 1, 1)
        (seen,) = discovery.page(world.ports, ADMIN, Query()).items
        assert (seen.status, seen.serial_number, seen.agent_id) == (DiscoveryStatus.UNMANAGED, "aff", agent.name)
        again = discovery.report(world.ports, agent, AgentId(agent.name), asked)
        assert again.certificates_new == 0
        managed = world.certificate()
        claimed = discovery.claim(world.ports, ADMIN, seen.id, managed.id)
        assert (claimed.status, claimed.managed_certificate_id) == (DiscoveryStatus.MANAGED, managed.id)
        dismissed = discovery.dismiss(world.ports, ADMIN, seen.id)
        assert (dismissed.status, dismissed.managed_certificate_id) == (DiscoveryStatus.DISMISSED, None)
        assert discovery.dismiss(world.ports, ADMIN, seen.id) == dismissed
        assert discovery.summary(world.ports, ADMIN) == {DiscoveryStatus.DISMISSED: 1}
        assert world.actions()[-3:] == [
            "certificate_created",
            "discovery_cert_claimed",
            "discovery_cert_dismissed",
        ]

    def test_what_certctl_issued_is_recognised(self, world: World) -> None:
        holder = world.agent()
        certificate = world.certificate(world.target(holder))
        version = world.issued(certificate, holder).version
        assert version is not None
        agent = as_agent(holder)
        seen = found(world, fingerprint_sha256=version.fingerprint_sha256.upper(), pem_data="")
        discovery.report(world.ports, agent, holder.id, discovery.Report(certificates=(seen,)))
        (known,) = discovery.page(world.ports, ADMIN, Query()).items
        assert (known.status, known.managed_certificate_id) == (DiscoveryStatus.MANAGED, certificate.id)

    def test_a_certificate_has_to_be_the_one_its_fingerprint_names(self, world: World) -> None:
        agent = agent_of(world)
        for wrong in (found(world, fingerprint_sha256="00" * 32), found(world, pem_data="no PEM")):
            report = discovery.Report(certificates=(found(world), wrong))
            with pytest.raises(Invalid) as refusal:
                discovery.report(world.ports, agent, AgentId(agent.name), report)
            assert [problem.field for problem in refusal.value.fields] == ["certificates[1].fingerprint_sha256"]

    def test_an_empty_report_says_nothing(self, world: World) -> None:
        agent = agent_of(world)
        with pytest.raises(Invalid, match="neither certificates nor errors"):
            discovery.report(world.ports, agent, AgentId(agent.name), discovery.Report(directories=("/etc",)))

    def test_agents_report_for_themselves_while_they_are_there(self, world: World) -> None:
        agent, other = agent_of(world), world.agent("web-2")
        asked = discovery.Report(errors=("/root: denied",))
        with pytest.raises(Forbidden):
            discovery.report(world.ports, agent, other.id, asked)
        agents.retire(world.ports, ADMIN, other.id)
        with pytest.raises(Gone):
            discovery.report(world.ports, as_agent(other), other.id, asked)

    def test_a_claim_needs_a_certificate(self, world: World) -> None:
        agent = agent_of(world)
        discovery.report(world.ports, agent, AgentId(agent.name), discovery.Report(certificates=(found(world),)))
        (seen,) = discovery.page(world.ports, ADMIN, Query()).items
        with pytest.raises(Invalid) as refusal:
            discovery.claim(world.ports, ADMIN, seen.id, "mc-nobody")
        assert refusal.value.fields[0].field == "managed_certificate_id"
        with pytest.raises(NotFound):
            discovery.claim(world.ports, ADMIN, "dcert-nobody", "mc-nobody")

    def test_limited_keys_see_nothing_of_it(self, world: World) -> None:
        for look in (
            lambda: discovery.page(world.ports, HERE, Query()),
            lambda: discovery.summary(world.ports, HERE),
            lambda: discovery.page_scans(world.ports, HERE, Query()),
            lambda: discovery.dismiss(world.ports, HERE, "dcert-1"),
            lambda: network_scans.page(world.ports, HERE, Query()),
        ):
            with pytest.raises(Forbidden, match="limited to teams"):
                look()

    def test_scans_are_forgotten_in_time(self, world: World) -> None:
        agent = agent_of(world)
        discovery.report(world.ports, agent, AgentId(agent.name), discovery.Report(errors=("no",)))
        assert discovery.forget_scans(world.ports, world.clock.now()) == 0
        assert discovery.forget_scans(world.ports, world.clock.now() + timedelta(seconds=1)) == 1


class TestNetworkScans:
    def test_every_wrong_field_is_named(self, world: World) -> None:
        asked = network_scans.CreateScanTarget(
            name=" ",
            cidrs=("10.0.0.0/19", "2001:db8::/64", "nowhere"),
            ports=(0,),
            scan_interval_hours=0,
            timeout_ms=1,
        )
        with pytest.raises(Invalid) as refusal:
            network_scans.create(world.ports, ADMIN, asked)
        assert [problem.field for problem in refusal.value.fields] == [
            "name",
            "cidrs[0]",
            "cidrs[1]",
            "cidrs[2]",
            "ports[0]",
            "scan_interval_hours",
            "timeout_ms",
        ]
        with pytest.raises(Invalid, match="1 to 100 networks"):
            network_scans.create(world.ports, ADMIN, network_scans.CreateScanTarget(name="x", cidrs=()))

    def test_a_target_is_kept_changed_and_deleted(self, world: World) -> None:
        asked = network_scans.CreateScanTarget(name="dmz", cidrs=("10.0.0.7/20", "10.0.0.0/20"), ports=(443, 443))
        made = network_scans.create(world.ports, ADMIN, asked)
        assert (made.cidrs, made.ports, made.next_scan_at) == (("10.0.0.0/20",), (443,), world.clock.now())
        changed = network_scans.update(world.ports, ADMIN, made.id, network_scans.UpdateScanTarget(enabled=False))
        assert (changed.name, changed.enabled) == ("dmz", False)
        with pytest.raises(NotConfigured, match="no network scanner"):
            network_scans.scan(world.ports, ADMIN, made.id)
        network_scans.delete(world.ports, ADMIN, made.id)
        with pytest.raises(NotFound):
            network_scans.scan(world.ports, ADMIN, made.id)


class TestHealthChecks:
    def watched(self, world: World, **more: Any) -> EndpointId:
        asked = endpoints.CreateEndpoint(**{"endpoint": "www.example.org:443"} | more)
        return endpoints.create(world.ports, ADMIN, asked).id

    @pytest.mark.parametrize(
        "address", ["www.example.org", "www.example.org:0", ":443", "https://x:443", "2001:db8::1:443", "a b:443"]
    )
    def test_an_endpoint_is_a_host_and_a_port(self, world: World, address: str) -> None:
        with pytest.raises(Invalid) as refusal:
            self.watched(world, endpoint=address)
        assert [problem.field for problem in refusal.value.fields] == ["endpoint"]

    @pytest.mark.parametrize("address", ["www.example.org:443", "192.0.2.1:8443", "[2001:db8::1]:443", "localhost:1"])
    def test_names_and_addresses_can_be_watched(self, world: World, address: str) -> None:
        assert endpoints.get(world.ports, ADMIN, self.watched(world, endpoint=address)).endpoint == address

    def test_every_wrong_field_is_named(self, world: World) -> None:
        with pytest.raises(Invalid) as refusal:
            self.watched(
                world, expected_fingerprint="xyz", degraded_threshold=5, down_threshold=2, check_interval_seconds=1
            )
        assert [problem.field for problem in refusal.value.fields] == [
            "expected_fingerprint",
            "down_threshold",
            "check_interval_seconds",
        ]
        with pytest.raises(Invalid) as refusal:
            self.watched(world, certificate_id=CertificateId("mc-nobody"))
        assert [problem.field for problem in refusal.value.fields] == ["certificate_id"]

    def test_probes_move_the_status_and_are_remembered(self, world: World) -> None:
        certificate = world.ca.authority.certificate
        fingerprint = reading.fingerprint(certificate)
        watched = self.watched(world, expected_fingerprint=fingerprint.upper())
        seen = Seen(fingerprint, certificate, "TLSv1.3", "TLS_AES_256_GCM_SHA384", timedelta(milliseconds=12))
        assert endpoints.record(world.ports, watched, seen).status is HealthStatus.HEALTHY
        world.clock.advance(timedelta(minutes=5))
        for _ in range(2):
            after = endpoints.record(world.ports, watched, "no route")
        assert (after.status, after.failure_reason) == (HealthStatus.DEGRADED, "no route")
        assert after.next_check_at == world.clock.now() + timedelta(minutes=5)
        history = endpoints.history(world.ports, ADMIN, watched, 10)
        assert [probe.status for probe in history] == [
            HealthStatus.DEGRADED,
            HealthStatus.HEALTHY,
            HealthStatus.HEALTHY,
        ]
        assert [probe.response_time_ms for probe in history] == [0, 0, 12]
        assert world.actions().count("health_check_status_transition") == 2
        known = endpoints.acknowledge(world.ports, ADMIN, watched)
        assert (known.acknowledged, known.acknowledged_by) == (True, ADMIN.name)
        assert endpoints.forget_probes(world.ports, world.clock.now()) == 1

    def test_another_expectation_is_looked_at_at_once(self, world: World) -> None:
        watched = self.watched(world)
        endpoints.record(world.ports, watched, "no route")
        sooner = endpoints.update(world.ports, ADMIN, watched, endpoints.UpdateEndpoint(check_interval_seconds=60))
        assert sooner.next_check_at == world.clock.now() + timedelta(seconds=60)
        other = endpoints.update(world.ports, ADMIN, watched, endpoints.UpdateEndpoint(expected_fingerprint="00" * 32))
        assert other.next_check_at == world.clock.now()

    def test_a_limited_key_sees_the_checks_of_its_certificates(self, world: World) -> None:
        certificate = world.certificate()
        watched = self.watched(world, certificate_id=certificate.id)
        alone = endpoints.create(world.ports, ADMIN, endpoints.CreateEndpoint(endpoint="alone.example:443")).id
        assert endpoints.get(world.ports, HERE, watched).id == watched
        for caller, seen in ((HERE, [watched]), (ELSEWHERE, []), (ADMIN, [watched, alone])):
            assert [one.id for one in endpoints.page(world.ports, caller, Query()).items] == seen
            assert sum(endpoints.summary(world.ports, caller).values()) == len(seen)
        for look in (
            lambda: endpoints.get(world.ports, ELSEWHERE, watched),
            lambda: endpoints.get(world.ports, HERE, alone),
            lambda: endpoints.acknowledge(world.ports, ELSEWHERE, watched),
            lambda: endpoints.delete(world.ports, ELSEWHERE, watched),
            lambda: endpoints.history(world.ports, ELSEWHERE, watched, 1),
        ):
            with pytest.raises(NotFound, match="health check"):
                look()
        asked = endpoints.CreateEndpoint(endpoint="x.example:443", certificate_id=certificate.id)
        with pytest.raises(Invalid):
            endpoints.create(world.ports, ELSEWHERE, asked)

    def test_a_deleted_check_is_gone(self, world: World) -> None:
        watched = self.watched(world)
        endpoints.delete(world.ports, ADMIN, watched)
        with pytest.raises(NotFound):
            endpoints.get(world.ports, ADMIN, watched)
