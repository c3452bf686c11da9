"""Discovery, network scans and health checks."""

from collections.abc import Mapping
from typing import Any, Final

from certctl_core.errors import Duplicate, Gone, Invalid, NotConfigured, StaleWrite
from certctl_core.ids import AgentId
from certctl_core.models.observed import HealthStatus
from certctl_core.usecases import discovery, endpoints, network_scans
from certctl_web.access import AGENTS, OPERATORS, PEOPLE
from certctl_web.media.observed import (
    Acknowledge,
    Claim,
    CreateHealthCheck,
    CreateNetworkScanTarget,
    DiscoveredCertificate,
    DiscoveredList,
    DiscoveryReport,
    DiscoveryScan,
    EndpointHealthCheck,
    HealthCheckList,
    HealthCheckSummary,
    HealthHistoryEntry,
    HistoryQuery,
    NetworkScanTarget,
    ScanList,
    UpdateHealthCheck,
    UpdateNetworkScanTarget,
)
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.media.records import StatusResponse
from certctl_web.operation import Call, Operation, Row

_FOUND: Final = "/api/v1/discovered-certificates"
_SCAN_TARGETS: Final = "/api/v1/network-scan-targets"
_CHECKS: Final = "/api/v1/health-checks"


# --- discovery --------------------------------------------------------------------------------------------------------


def report(call: Call[None], asked: DiscoveryReport) -> DiscoveryScan:
    agent_id = AgentId(call.path["id"])
    return DiscoveryScan.of(discovery.report(call.ports, call.caller, agent_id, asked.wish()))


def page_found(call: Call[DiscoveredList], _: None) -> PagedResponse[DiscoveredCertificate]:
    found = discovery.page(call.ports, call.caller, call.query.wish())
    return paged(call.query, found, DiscoveredCertificate.of)


def get_found(call: Call[None], _: None) -> DiscoveredCertificate:
    return DiscoveredCertificate.of(discovery.get(call.ports, call.caller, call.path["id"]))


def claim(call: Call[None], asked: Claim) -> StatusResponse:
    claimed = discovery.claim(call.ports, call.caller, call.path["id"], asked.managed_certificate_id)
    return StatusResponse(status="claimed", message=f"it is {claimed.managed_certificate_id}")


def dismiss(call: Call[None], _: None) -> StatusResponse:
    discovery.dismiss(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="dismissed", message="it is not shown as unmanaged any more")


def page_scans(call: Call[ScanList], _: None) -> PagedResponse[DiscoveryScan]:
    return paged(call.query, discovery.page_scans(call.ports, call.caller, call.query.wish()), DiscoveryScan.of)


def summary(call: Call[None], _: None) -> Mapping[str, int]:
    return {status.value: count for status, count in discovery.summary(call.ports, call.caller).items()}


# --- network scan targets ---------------------------------------------------------------------------------------------


def page_targets(call: Call[Paging], _: None) -> PagedResponse[NetworkScanTarget]:
    found = network_scans.page(call.ports, call.caller, call.query.ask())
    return paged(call.query, found, NetworkScanTarget.of)


def create_target(call: Call[None], asked: CreateNetworkScanTarget) -> NetworkScanTarget:
    return NetworkScanTarget.of(network_scans.create(call.ports, call.caller, asked.wish()))


def get_target(call: Call[None], _: None) -> NetworkScanTarget:
    return NetworkScanTarget.of(network_scans.get(call.ports, call.caller, call.path["id"]))


def update_target(call: Call[None], asked: UpdateNetworkScanTarget) -> NetworkScanTarget:
    return NetworkScanTarget.of(network_scans.update(call.ports, call.caller, call.path["id"], asked.wish()))


def delete_target(call: Call[None], _: None) -> None:
    network_scans.delete(call.ports, call.caller, call.path["id"])


def scan(call: Call[None], _: None) -> DiscoveryScan:
    return DiscoveryScan.of(network_scans.scan(call.ports, call.caller, call.path["id"]))


# --- health checks ----------------------------------------------------------------------------------------------------


def count_checks(call: Call[None], _: None) -> HealthCheckSummary:
    counted = endpoints.summary(call.ports, call.caller)
    by_name = {status.value: counted.get(status, 0) for status in HealthStatus}
    return HealthCheckSummary(**by_name, total=sum(by_name.values()))


def page_checks(call: Call[HealthCheckList], _: None) -> PagedResponse[EndpointHealthCheck]:
    found = endpoints.page(call.ports, call.caller, call.query.wish())
    return paged(call.query, found, EndpointHealthCheck.of)


def create_check(call: Call[None], asked: CreateHealthCheck) -> EndpointHealthCheck:
    return EndpointHealthCheck.of(endpoints.create(call.ports, call.caller, asked.wish()))


def get_check(call: Call[None], _: None) -> EndpointHealthCheck:
    return EndpointHealthCheck.of(endpoints.get(call.ports, call.caller, call.path["id"]))


def update_check(call: Call[None], asked: UpdateHealthCheck) -> EndpointHealthCheck:
    return EndpointHealthCheck.of(endpoints.update(call.ports, call.caller, call.path["id"], asked.wish()))


def delete_check(call: Call[None], _: None) -> None:
    endpoints.delete(call.ports, call.caller, call.path["id"])


def history(call: Call[HistoryQuery], _: None) -> tuple[HealthHistoryEntry, ...]:
    found = endpoints.history(call.ports, call.caller, call.path["id"], call.query.limit)
    return tuple(HealthHistoryEntry.of(probe) for probe in found)


def acknowledge(call: Call[None], _: Acknowledge) -> None:
    endpoints.acknowledge(call.ports, call.caller, call.path["id"])


# --- the digest -------------------------------------------------------------------------------------------------------


def no_digest(_call: Call[None], _: None) -> Any:
    raise NotConfigured("digest service not configured", hint="This installation has no mailer to send a digest with.")


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="report_discoveries",
        tool="",
        method="POST",
        path="/api/v1/agents/{id}/discoveries",
        summary="Report the certificates that lie on an agent's host",
        who=AGENTS,
        own="id",
        run=report,
        body=DiscoveryReport,
        answer=DiscoveryScan,
        status=202,
        errors=(Gone, Invalid),
    ),
    Operation(
        name="list_discovered_certificates",
        method="GET",
        path=_FOUND,
        summary="List certificates that were found, by agent and status",
        who=PEOPLE,
        run=page_found,
        query=DiscoveredList,
        answer=PagedResponse[DiscoveredCertificate],
    ),
    Operation(
        name="get_discovered_certificate",
        method="GET",
        path=f"{_FOUND}/{{id}}",
        summary="Show one certificate that was found",
        who=PEOPLE,
        run=get_found,
        answer=DiscoveredCertificate,
    ),
    Operation(
        name="claim_discovered_certificate",
        method="POST",
        path=f"{_FOUND}/{{id}}/claim",
        summary="Say which managed certificate a found one is",
        who=OPERATORS,
        run=claim,
        body=Claim,
        answer=StatusResponse,
        errors=(StaleWrite,),
    ),
    Operation(
        name="dismiss_discovered_certificate",
        method="POST",
        path=f"{_FOUND}/{{id}}/dismiss",
        summary="Say that a found certificate is nothing to hear of",
        who=OPERATORS,
        run=dismiss,
        answer=StatusResponse,
        errors=(StaleWrite,),
    ),
    Operation(
        name="list_discovery_scans",
        method="GET",
        path="/api/v1/discovery-scans",
        summary="List what agents reported of their searches, newest first",
        who=PEOPLE,
        run=page_scans,
        query=ScanList,
        answer=PagedResponse[DiscoveryScan],
    ),
    Operation(
        name="get_discovery_summary",
        tool="certctl_discovery_summary",
        method="GET",
        path="/api/v1/discovery-summary",
        summary="How many found certificates are in each status",
        who=PEOPLE,
        run=summary,
        answer=Mapping[str, int],
    ),
    Operation(
        name="list_network_scan_targets",
        method="GET",
        path=_SCAN_TARGETS,
        summary="List networks to look for certificates in",
        who=PEOPLE,
        run=page_targets,
        query=Paging,
        answer=PagedResponse[NetworkScanTarget],
    ),
    Operation(
        name="create_network_scan_target",
        method="POST",
        path=_SCAN_TARGETS,
        summary="Add networks to look for certificates in",
        who=OPERATORS,
        run=create_target,
        body=CreateNetworkScanTarget,
        answer=NetworkScanTarget,
        status=201,
    ),
    Operation(
        name="get_network_scan_target",
        method="GET",
        path=f"{_SCAN_TARGETS}/{{id}}",
        summary="Show one network scan target",
        who=PEOPLE,
        run=get_target,
        answer=NetworkScanTarget,
    ),
    Operation(
        name="update_network_scan_target",
        method="PUT",
        path=f"{_SCAN_TARGETS}/{{id}}",
        summary="Change a network scan target; what is not given stays",
        who=OPERATORS,
        run=update_target,
        body=UpdateNetworkScanTarget,
        answer=NetworkScanTarget,
        errors=(StaleWrite,),
    ),
    Operation(
        name="delete_network_scan_target",
        method="DELETE",
        path=f"{_SCAN_TARGETS}/{{id}}",
        summary="Delete a network scan target; what was found in it stays",
        who=OPERATORS,
        run=delete_target,
        status=204,
    ),
    Operation(
        name="trigger_network_scan",
        method="POST",
        path=f"{_SCAN_TARGETS}/{{id}}/scan",
        summary="Scan now; answers 503 while no network scanner is configured",
        who=OPERATORS,
        run=scan,
        answer=DiscoveryScan,
        status=202,
        errors=(NotConfigured,),
    ),
    Operation(
        name="count_health_checks",
        tool="certctl_health_check_summary",
        method="GET",
        path=f"{_CHECKS}/summary",
        summary="How many watched endpoints are in each status",
        who=PEOPLE,
        run=count_checks,
        answer=HealthCheckSummary,
    ),
    Operation(
        name="list_health_checks",
        method="GET",
        path=_CHECKS,
        summary="List watched endpoints",
        who=PEOPLE,
        run=page_checks,
        query=HealthCheckList,
        answer=PagedResponse[EndpointHealthCheck],
    ),
    Operation(
        name="create_health_check",
        method="POST",
        path=_CHECKS,
        summary="Watch an endpoint",
        who=OPERATORS,
        run=create_check,
        body=CreateHealthCheck,
        answer=EndpointHealthCheck,
        status=201,
        errors=(Duplicate,),
    ),
    Operation(
        name="get_health_check",
        method="GET",
        path=f"{_CHECKS}/{{id}}",
        summary="Show one watched endpoint",
        who=PEOPLE,
        run=get_check,
        answer=EndpointHealthCheck,
    ),
    Operation(
        name="update_health_check",
        method="PUT",
        path=f"{_CHECKS}/{{id}}",
        summary="Change a watched endpoint; what is not given stays",
        who=OPERATORS,
        run=update_check,
        body=UpdateHealthCheck,
        answer=EndpointHealthCheck,
        errors=(StaleWrite,),
    ),
    Operation(
        name="delete_health_check",
        method="DELETE",
        path=f"{_CHECKS}/{{id}}",
        summary="Watch an endpoint no more; its history goes with it",
        who=OPERATORS,
        run=delete_check,
        status=204,
    ),
    Operation(
        name="health_check_history",
        method="GET",
        path=f"{_CHECKS}/{{id}}/history",
        summary="Show the last probes of an endpoint, newest first",
        who=PEOPLE,
        run=history,
        query=HistoryQuery,
        answer=tuple[HealthHistoryEntry, ...],
    ),
    Operation(
        name="acknowledge_health_check",
        method="POST",
        path=f"{_CHECKS}/{{id}}/acknowledge",
        summary="Say that the state of an endpoint is known; it counts until the state changes",
        who=OPERATORS,
        run=acknowledge,
        body=Acknowledge,
        status=204,
        errors=(StaleWrite,),
    ),
    Operation(
        name="preview_digest",
        method="GET",
        path="/api/v1/digest/preview",
        summary="Show the digest; answers 503 while no digest service is configured",
        who=PEOPLE,
        run=no_digest,
        errors=(NotConfigured,),
        media_type="text/html; charset=utf-8",
    ),
    Operation(
        name="send_digest",
        method="POST",
        path="/api/v1/digest/send",
        summary="Send the digest now; answers 503 while no digest service is configured",
        who=OPERATORS,
        run=no_digest,
        answer=StatusResponse,
        errors=(NotConfigured,),
    ),
)
