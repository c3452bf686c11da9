"""Discovery: what agents find lying about on their hosts, and what somebody decides about it."""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

from attrs import frozen

from certctl_core.errors import CertctlError, FieldProblem, Invalid
from certctl_core.ids import AgentId, CertificateId, DiscoveredId, ScanId, mint
from certctl_core.lifecycle import agent as agent_life
from certctl_core.lifecycle import discovered as life
from certctl_core.models.access import Principal
from certctl_core.models.observed import DiscoveredCertificate, DiscoveryScan, DiscoveryStatus
from certctl_core.pki import bundle, serials
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query
from certctl_core.usecases import access, audit, scope

BATCH: Final = 1000
FINGERPRINT: Final = re.compile(r"[0-9a-fA-F]{64}")


@frozen(kw_only=True)
class Found:
    """A certificate as an agent describes it. `pem` is the certificate itself, where the agent sent it."""

    fingerprint_sha256: str
    common_name: str = ""
    sans: tuple[str, ...] = ()
    serial_number: str = ""
    issuer_dn: str = ""
    subject_dn: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_algorithm: str = ""
    key_size: int = 0
    is_ca: bool = False
    pem_data: str = ""
    source_path: str = ""
    source_format: str = "PEM"


@frozen(kw_only=True)
class Report:
    """What one look at `directories` brought: certificates, and what could not be looked at."""

    directories: tuple[str, ...] = ()
    certificates: tuple[Found, ...] = ()
    errors: tuple[str, ...] = ()
    scan_duration_ms: int = 0


def report(ports: Ports, caller: Principal, agent_id: AgentId, asked: Report) -> DiscoveryScan:
    """Remember what an agent found. A certificate that is known in its place is seen again and keeps what was decided
    about it; one that certctl itself issued is Managed from the start.

    Raises `Invalid` for an empty report and for a certificate that is not the one its fingerprint names, `Gone` for a
    retired agent.
    """
    access.must_act_for(caller, agent_id)
    _must_be_sound(asked)
    now = ports.clock.now()
    with ports.work() as work:
        agent_life.must_be_active(work.agents.get(agent_id))
        scan = DiscoveryScan(
            id=ScanId(mint("dscan", now)),
            agent_id=agent_id,
            directories=asked.directories,
            certificates_found=len(asked.certificates),
            errors_count=len(asked.errors),
            scan_duration_ms=asked.scan_duration_ms,
            started_at=now,
            completed_at=now,
        )
        ours = work.versions.owners_of({found.fingerprint_sha256.lower() for found in asked.certificates})
        scan = work.discovered.report(scan, [_as_seen(found, scan, ours, now) for found in asked.certificates])
        audit.record(
            work,
            caller,
            now,
            "discovery_scan_completed",
            "discovery_scan",
            scan.id,
            agent_id=agent_id,
            directories=list(asked.directories),
            certificates_found=scan.certificates_found,
            certificates_new=scan.certificates_new,
            errors_count=scan.errors_count,
        )
    return scan


def _must_be_sound(asked: Report) -> None:
    if not asked.certificates and not asked.errors:
        raise Invalid("the report has neither certificates nor errors", hint="Report a scan when it found something.")
    problems = []
    for index, found in enumerate(asked.certificates):
        if found.pem_data and not _is_of(found.pem_data, found.fingerprint_sha256):
            at = f"certificates[{index}].fingerprint_sha256"
            problems.append(FieldProblem(at, "is not the SHA-256 of the certificate in pem_data"))
    if problems:
        said = "; ".join(f"{problem.field} {problem.message}" for problem in problems[:10])
        raise Invalid(f"the report is not valid: {said}", fields=problems)


def _is_of(pem: str, fingerprint: str) -> bool:
    """Whether the first block of a PEM text hashes to the fingerprint. What is in the block is not looked at: a
    certificate that our parser refuses is worth knowing about too."""
    try:
        return sha256(bundle.first_block(pem)).hexdigest() == fingerprint.lower()
    except CertctlError:
        return False


def _as_seen(
    found: Found, scan: DiscoveryScan, ours: Mapping[str, CertificateId], now: datetime
) -> DiscoveredCertificate:
    fingerprint = found.fingerprint_sha256.lower()
    owner = ours.get(fingerprint)
    return DiscoveredCertificate(
        id=DiscoveredId(mint("dcert", now)),
        fingerprint_sha256=fingerprint,
        common_name=found.common_name,
        sans=found.sans,
        serial_number=_serial(found.serial_number),
        issuer_dn=found.issuer_dn,
        subject_dn=found.subject_dn,
        not_before=found.not_before,
        not_after=found.not_after,
        key_algorithm=found.key_algorithm,
        key_size=found.key_size,
        is_ca=found.is_ca,
        pem_data=found.pem_data,
        agent_id=scan.agent_id,
        source_path=found.source_path,
        source_format=found.source_format,
        discovery_scan_id=scan.id,
        status=DiscoveryStatus.MANAGED if owner else DiscoveryStatus.UNMANAGED,
        managed_certificate_id=owner,
        first_seen_at=now,
        last_seen_at=now,
        created_at=now,
        updated_at=now,
    )


def _serial(text: str) -> str:
    """In canonical form where it is a serial number at all: foreign certificates have odd ones, zero among them."""
    try:
        return serials.canonical(text)
    except Invalid:
        return text


def claim(ports: Ports, caller: Principal, discovered_id: str, certificate_id: str) -> DiscoveredCertificate:
    """Say that it is this managed certificate that lies there. Raises `Invalid` when there is no such certificate."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    with ports.work() as work:
        found = work.discovered.lock(discovered_id)
        managed = work.certificates.find(certificate_id)
        if managed is None:
            raise Invalid.field("managed_certificate_id", f"there is no certificate {certificate_id!r}")
        claimed = work.discovered.save(life.claim(found, managed.id, now))
        audit.record(
            work,
            caller,
            now,
            "discovery_cert_claimed",
            "discovered_certificate",
            claimed.id,
            managed_certificate_id=managed.id,
            fingerprint=claimed.fingerprint_sha256,
            common_name=claimed.common_name,
        )
    return claimed


def dismiss(ports: Ports, caller: Principal, discovered_id: str) -> DiscoveredCertificate:
    """Say that it is nothing to hear of. Dismissing twice is dismissing."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    with ports.work() as work:
        found = work.discovered.lock(discovered_id)
        if found.status is DiscoveryStatus.DISMISSED:
            return found
        dismissed = work.discovered.save(life.dismiss(found, now))
        audit.record(work, caller, now, "discovery_cert_dismissed", "discovered_certificate", dismissed.id)
    return dismissed


def get(ports: Ports, caller: Principal, discovered_id: str) -> DiscoveredCertificate:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.discovered.get(discovered_id)


def page(ports: Ports, caller: Principal, query: Query) -> Page[DiscoveredCertificate]:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.discovered.page(query)


def page_scans(ports: Ports, caller: Principal, query: Query) -> Page[DiscoveryScan]:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.scans.page(query)


def summary(ports: Ports, caller: Principal) -> Mapping[DiscoveryStatus, int]:
    """How many are in each status; statuses without any are left out."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.discovered.count_by_status()


def forget_scans(ports: Ports, before: datetime) -> int:
    """Forget scans that began before the given time; what they found stays. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            forgotten = work.scans.forget(before, BATCH)
        done += forgotten
        if forgotten < BATCH:
            return done
