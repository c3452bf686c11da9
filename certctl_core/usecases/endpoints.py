"""Endpoint health checks: which TLS endpoints are watched, what was seen there, and who knows of it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import asdict, evolve, frozen

from certctl_core.errors import FieldProblem, Invalid, NotFound
from certctl_core.ids import CLIENT_ID, CertificateId, EndpointId, ProbeId, ScanTargetId, mint
from certctl_core.lifecycle import endpoint as life
from certctl_core.models.access import SYSTEM, Principal
from certctl_core.models.observed import EndpointHealth, HealthStatus, ProbeRecord
from certctl_core.pki import names, reading
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, Work
from certctl_core.ports.world import Seen
from certctl_core.usecases import audit, scope

BATCH: Final = 1000
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_NOUN: Final = "health_check"


@frozen(kw_only=True)
class CreateEndpoint:
    endpoint: str
    id: EndpointId | None = None
    certificate_id: CertificateId | None = None
    network_scan_target_id: ScanTargetId | None = None
    expected_fingerprint: str = ""
    degraded_threshold: int = 2
    down_threshold: int = 5
    check_interval_seconds: int = 300
    enabled: bool = True


@frozen(kw_only=True)
class UpdateEndpoint:
    """What to change; None leaves a field as it is."""

    endpoint: str | None = None
    expected_fingerprint: str | None = None
    degraded_threshold: int | None = None
    down_threshold: int | None = None
    check_interval_seconds: int | None = None
    enabled: bool | None = None


def create(ports: Ports, caller: Principal, asked: CreateEndpoint) -> EndpointHealth:
    """Watch an endpoint. Raises `Invalid` naming every field that is wrong, and for a certificate or scan target that
    the caller does not see."""
    now = ports.clock.now()
    endpoint = _sound(
        EndpointHealth(
            **{name: value for name, value in asdict(asked, recurse=False).items() if name != "id"},
            id=asked.id or EndpointId(mint("hc", now)),
            next_check_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    with ports.work() as work:
        _must_see(work, caller, endpoint)
        work.endpoints.add(endpoint)
        audit.record(work, caller, now, "health_check_created", _NOUN, endpoint.id, endpoint=endpoint.endpoint)
    return endpoint


def update(ports: Ports, caller: Principal, endpoint_id: str, asked: UpdateEndpoint) -> EndpointHealth:
    """Change what is given. Another endpoint, or another certificate expected there, is looked at anew."""
    now = ports.clock.now()
    changes = {name: value for name, value in asdict(asked, recurse=False).items() if value is not None}
    with ports.work() as work:
        before = _seen_by(work, caller, work.endpoints.lock_unchanged(endpoint_id))
        after = _sound(evolve(before, **changes, updated_at=now))
        if (after.endpoint, after.expected_fingerprint) != (before.endpoint, before.expected_fingerprint):
            after = evolve(after, next_check_at=now)
        elif after.last_checked_at is not None:
            after = evolve(after, next_check_at=after.last_checked_at + after.interval)
        after = work.endpoints.save(after)
        audit.record(
            work, caller, now, "health_check_updated", _NOUN, after.id, endpoint=after.endpoint, changed=sorted(changes)
        )
    return after


def delete(ports: Ports, caller: Principal, endpoint_id: str) -> None:
    """Watch it no more; its history goes with it."""
    with ports.work() as work:
        endpoint = _lock(work, caller, endpoint_id)
        work.endpoints.remove(endpoint.id)
        audit.record(
            work, caller, ports.clock.now(), "health_check_deleted", _NOUN, endpoint.id, endpoint=endpoint.endpoint
        )


def acknowledge(ports: Ports, caller: Principal, endpoint_id: str) -> EndpointHealth:
    """The caller knows of the endpoint's state. It counts until the state changes."""
    now = ports.clock.now()
    with ports.work() as work:
        endpoint = _lock(work, caller, endpoint_id)
        known = work.endpoints.save(life.acknowledge(endpoint, now, caller.name))
        audit.record(
            work,
            caller,
            now,
            "health_check_acknowledged",
            _NOUN,
            known.id,
            endpoint=known.endpoint,
            status=known.status.value,
        )
    return known


def record(ports: Ports, endpoint_id: EndpointId, seen: Seen | str) -> EndpointHealth:
    """Write down what a probe saw, or why it saw nothing, and what that means for the endpoint."""
    now = ports.clock.now()
    with ports.work() as work:
        before = work.endpoints.lock(endpoint_id)
        after = work.endpoints.save(_after(before, seen, now))
        work.probes.add(
            ProbeRecord(
                id=ProbeId(mint("probe", now)),
                health_check_id=after.id,
                status=after.status,
                response_time_ms=0 if isinstance(seen, str) else after.response_time_ms,
                fingerprint="" if isinstance(seen, str) else seen.fingerprint,
                failure_reason=after.failure_reason,
                checked_at=now,
            )
        )
        if after.status is not before.status:
            audit.record(
                work,
                SYSTEM,
                now,
                "health_check_status_transition",
                _NOUN,
                after.id,
                endpoint=after.endpoint,
                old_status=before.status.value,
                new_status=after.status.value,
            )
    return after


def _after(endpoint: EndpointHealth, seen: Seen | str, now: datetime) -> EndpointHealth:
    if isinstance(seen, str):
        return life.unseen(endpoint, now, seen)
    facts = reading.facts(seen.certificate)
    observed = evolve(
        endpoint,
        response_time_ms=seen.took // timedelta(milliseconds=1),
        tls_version=seen.tls_version,
        cipher_suite=seen.cipher_suite,
        cert_subject=seen.certificate.subject.rfc4514_string(),
        cert_issuer=seen.certificate.issuer.rfc4514_string(),
        cert_expiry=facts.not_after,
    )
    return life.seen(observed, now, seen.fingerprint)


def get(ports: Ports, caller: Principal, endpoint_id: str) -> EndpointHealth:
    with ports.work() as work:
        return _seen_by(work, caller, work.endpoints.get(endpoint_id))


def page(ports: Ports, caller: Principal, query: Query) -> Page[EndpointHealth]:
    """A caller whose key is limited sees the checks of certificates within its reach."""
    with ports.work() as work:
        return work.endpoints.page(evolve(query, where=(*query.where, *scope.certificates(caller))))


def history(ports: Ports, caller: Principal, endpoint_id: str, limit: int) -> Sequence[ProbeRecord]:
    """The last probes, newest first."""
    with ports.work() as work:
        return work.probes.of(_seen_by(work, caller, work.endpoints.get(endpoint_id)).id, limit)


def summary(ports: Ports, caller: Principal) -> Mapping[HealthStatus, int]:
    with ports.work() as work:
        return work.endpoints.count_by_status(scope.certificates(caller))


def forget_probes(ports: Ports, before: datetime) -> int:
    """Forget probes made before the given time. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            forgotten = work.probes.forget(before, BATCH)
        done += forgotten
        if forgotten < BATCH:
            return done


def _lock(work: Work, caller: Principal, endpoint_id: str) -> EndpointHealth:
    return _seen_by(work, caller, work.endpoints.lock(endpoint_id))


def _seen_by(work: Work, caller: Principal, endpoint: EndpointHealth) -> EndpointHealth:
    """The endpoint itself. An endpoint is seen by who sees its certificate; one without is seen by keys without
    limits. Raises `NotFound`."""
    if caller.scope.is_everything:
        return endpoint
    certificate = None if endpoint.certificate_id is None else work.certificates.find(endpoint.certificate_id)
    if certificate is None or not scope.sees(caller, certificate):
        raise NotFound.of("health check", endpoint.id)
    return endpoint


def _must_see(work: Work, caller: Principal, endpoint: EndpointHealth) -> None:
    if endpoint.certificate_id is not None:
        certificate = work.certificates.find(endpoint.certificate_id)
        if certificate is None or not scope.sees(caller, certificate):
            raise Invalid.field("certificate_id", f"refers to {endpoint.certificate_id!r}, which does not exist")
    else:
        scope.must_reach_everything(caller)


def _sound(endpoint: EndpointHealth) -> EndpointHealth:
    """The check with its fingerprint in lower case. Raises `Invalid` naming every field that is wrong."""
    problems: list[FieldProblem] = []
    if not CLIENT_ID.fullmatch(endpoint.id):
        problems.append(FieldProblem("id", "must be 1 to 128 letters, digits, dots, dashes or underscores"))
    if said := _address_problem(endpoint.endpoint):
        problems.append(FieldProblem("endpoint", said))
    fingerprint = endpoint.expected_fingerprint.lower().replace(":", "")
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        problems.append(FieldProblem("expected_fingerprint", "must be a SHA-256 fingerprint of 64 hexadecimal digits"))
    if not 1 <= endpoint.degraded_threshold <= 1000:
        problems.append(FieldProblem("degraded_threshold", "must be between 1 and 1000"))
    if not endpoint.degraded_threshold <= endpoint.down_threshold <= 1000:
        problems.append(FieldProblem("down_threshold", "must be between degraded_threshold and 1000"))
    if not 10 <= endpoint.check_interval_seconds <= 7 * 86400:
        problems.append(FieldProblem("check_interval_seconds", "must be between 10 and 604800"))
    if problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"the health check is not valid: {said}", fields=problems)
    return evolve(endpoint, expected_fingerprint=fingerprint)


def _address_problem(text: str) -> str:
    """What is wrong with a `host:port`; an IPv6 address stands in brackets (RFC 3986 section 3.2.2)."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        return "must be host:port, such as www.example.org:443"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return "needs brackets around an IPv6 address, such as [2001:db8::1]:443"
    if not host or any(mark in host for mark in "@/*") or "://" in host:
        return "must begin with a host name or an IP address"
    try:
        names.general_name(host)
    except Invalid as problem:
        return problem.message
    return ""
