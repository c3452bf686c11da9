"""Network scan targets: where to look for certificates that nobody told us of."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Final

from attrs import asdict, evolve, frozen

from certctl_core.errors import FieldProblem, Invalid, NotConfigured
from certctl_core.ids import ScanTargetId, mint
from certctl_core.models.access import Principal
from certctl_core.models.observed import DiscoveryScan, NetworkScanTarget
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query
from certctl_core.usecases import audit, scope

MOST_ADDRESSES: Final = 4096
"""Of one network: a /20 in IPv4."""

MOST_NETWORKS: Final = 100
MOST_PORTS: Final = 100


@frozen(kw_only=True)
class CreateScanTarget:
    name: str
    cidrs: tuple[str, ...]
    ports: tuple[int, ...] = (443,)
    enabled: bool = True
    scan_interval_hours: int = 6
    timeout_ms: int = 5000


@frozen(kw_only=True)
class UpdateScanTarget:
    """What to change; None leaves a field as it is."""

    name: str | None = None
    cidrs: tuple[str, ...] | None = None
    ports: tuple[int, ...] | None = None
    enabled: bool | None = None
    scan_interval_hours: int | None = None
    timeout_ms: int | None = None


def create(ports: Ports, caller: Principal, asked: CreateScanTarget) -> NetworkScanTarget:
    """Raises `Invalid` naming every field that is wrong. A new target is due at once."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    target = _sound(
        NetworkScanTarget(
            **asdict(asked, recurse=False),
            id=ScanTargetId(mint("nst", now)),
            next_scan_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    with ports.work() as work:
        work.scan_targets.add(target)
        audit.record(work, caller, now, "network_scan_target_created", _NOUN, target.id, **_told(target))
    return target


def update(ports: Ports, caller: Principal, target_id: str, asked: UpdateScanTarget) -> NetworkScanTarget:
    """Change what is given. A shorter interval brings the next scan nearer."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    changes = {name: value for name, value in asdict(asked, recurse=False).items() if value is not None}
    with ports.work() as work:
        before = work.scan_targets.lock_unchanged(target_id)
        changed = evolve(before, **changes, updated_at=now)
        after = work.scan_targets.save(evolve(_sound(changed), next_scan_at=_next_scan(before, changed)))
        audit.record(work, caller, now, "network_scan_target_updated", _NOUN, after.id, changed=sorted(changes))
    return after


def _next_scan(before: NetworkScanTarget, after: NetworkScanTarget) -> Any:
    if before.last_scan_at is None or before.next_scan_at is None:
        return before.next_scan_at
    return before.last_scan_at + timedelta(hours=after.scan_interval_hours)


def delete(ports: Ports, caller: Principal, target_id: str) -> None:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        target = work.scan_targets.lock(target_id)
        work.scan_targets.remove(target.id)
        audit.record(work, caller, ports.clock.now(), "network_scan_target_deleted", _NOUN, target.id, **_told(target))


def get(ports: Ports, caller: Principal, target_id: str) -> NetworkScanTarget:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.scan_targets.get(target_id)


def page(ports: Ports, caller: Principal, query: Query) -> Page[NetworkScanTarget]:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.scan_targets.page(query)


def scan(ports: Ports, caller: Principal, target_id: str) -> DiscoveryScan:
    """Scan now. Raises `NotConfigured`: this installation has no network scanner."""
    target = get(ports, caller, target_id)
    raise NotConfigured(
        f"network scan target {target.id} cannot be scanned: no network scanner is configured",
        hint="Certificates on hosts are found by their agents; see discovery-scans.",
    )


_NOUN: Final = "network_scan_target"


def _told(target: NetworkScanTarget) -> dict[str, Any]:
    return {"name": target.name, "cidrs": list(target.cidrs), "ports": list(target.ports)}


def _sound(target: NetworkScanTarget) -> NetworkScanTarget:
    """The target with its networks in canonical form. Raises `Invalid` naming every field that is wrong."""
    problems: list[FieldProblem] = []
    networks: list[str] = []
    if not target.name.strip():
        problems.append(FieldProblem("name", "must not be empty"))
    if not 1 <= len(target.cidrs) <= MOST_NETWORKS:
        problems.append(FieldProblem("cidrs", f"must be 1 to {MOST_NETWORKS} networks"))
    for index, text in enumerate(target.cidrs[:MOST_NETWORKS]):
        try:
            network = ip_network(text.strip(), strict=False)
        except ValueError:
            problems.append(FieldProblem(f"cidrs[{index}]", "must be a network such as 10.0.8.0/24"))
            continue
        if network.num_addresses > MOST_ADDRESSES:
            least = network.max_prefixlen - 12
            problems.append(FieldProblem(f"cidrs[{index}]", f"is too large: /{least} is the largest network"))
        networks.append(str(network))
    if not 1 <= len(target.ports) <= MOST_PORTS:
        problems.append(FieldProblem("ports", f"must be 1 to {MOST_PORTS} ports"))
    problems += [
        FieldProblem(f"ports[{index}]", "must be between 1 and 65535")
        for index, port in enumerate(target.ports)
        if not 1 <= port <= 65535
    ]
    if not 1 <= target.scan_interval_hours <= 8760:
        problems.append(FieldProblem("scan_interval_hours", "must be between 1 and 8760"))
    if not 100 <= target.timeout_ms <= 60_000:
        problems.append(FieldProblem("timeout_ms", "must be between 100 and 60000"))
    if problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"the network scan target is not valid: {said}", fields=problems)
    return evolve(target, cidrs=tuple(dict.fromkeys(networks)), ports=tuple(dict.fromkeys(target.ports)))
