"""The list of certificates, the page of one, and what can be done with it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import frozen

from certctl_core.errors import Invalid
from certctl_core.ids import TargetId
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.catalog import ConfiguredTarget
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    Deployment,
    ManagedCertificate,
    RevocationReason,
)
from certctl_core.ports.store import Is, Query, Where
from certctl_core.usecases import audit, certificates, deployment, jobs, naming, renewal, revocation, watchdog
from certctl_web.dashboard import listing
from certctl_web.dashboard.guard import Asked, Desk, Done, Shown

VERSIONS: Final = 10
TIMELINE: Final = 25
_JOBS: Final = 5
_SINCE_EVER: Final = datetime(1, 1, 1, tzinfo=UTC)


# --- The list -----------------------------------------------------------------------------------------------------


def all_of_them(desk: Desk, asked: Asked) -> Shown:
    by_expiry = asked.text("sort") == "expires"
    listed = listing.turn(
        lambda query: certificates.page(desk.ports, asked.visit.principal, query),
        Query(_conditions(asked, by_expiry, asked.visit.at), sort="expires_at" if by_expiry else "name"),
        asked.fields,
        "/certificates",
        lambda c: ((c.expires_at or _SINCE_EVER) if by_expiry else c.name, c.id),
        by_time=by_expiry,
    )
    return Shown(
        "certificates.html",
        {
            "listed": listed,
            "search": asked.text("q"),
            "chosen": asked.text("status"),
            "by_expiry": by_expiry,
            "expires_on": _day(asked.text("expires")),
            "overdue": asked.text("overdue") == "yes",
            "statuses": list(CertificateStatus),
        },
    )


def _conditions(asked: Asked, by_expiry: bool, now: datetime) -> tuple[Where, ...]:
    found = list(watchdog.overdue(now)) if asked.text("overdue") == "yes" else []
    if search := asked.text("q"):
        found.append(Where("names", search, Is.CONTAINS))
    if chosen := asked.text("status"):
        found.append(Where("status", _choice(CertificateStatus, "status", chosen)))
    if day := _day(asked.text("expires")):
        found.append(Where("expires_at", day - timedelta(microseconds=1), Is.AFTER))
        found.append(Where("expires_at", day + timedelta(days=1), Is.BEFORE))
    elif by_expiry:  # what was never issued has no place in this order
        found.append(Where("expires_at", _SINCE_EVER, Is.AFTER))
    return tuple(found)


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Invalid.field("expires", f"{text!r} is not a day such as 2031-03-04") from None


def _choice(kind: Any, name: str, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Invalid.field(name, f"{text!r} is not one of {', '.join(one.value for one in kind)}") from None


# --- One of them --------------------------------------------------------------------------------------------------


@frozen
class Step:
    """One of the three facts about a certificate on a target. `state` is `yes`, `old` or `no`."""

    name: str
    state: str
    text: str
    at: datetime | None = None


@frozen
class Placement:
    """A target, and how far the newest version has come there."""

    target: ConfiguredTarget
    steps: tuple[Step, ...]
    error: str = ""


def one(desk: Desk, asked: Asked) -> Shown:
    ports, caller = desk.ports, asked.visit.principal
    certificate = certificates.get(ports, caller, asked.path["certificate_id"])
    versions = certificates.versions(ports, caller, certificate.id, VERSIONS, 0)
    placed = certificates.deployments(ports, caller, certificate.id)
    events = audit.about_certificate(ports, caller, certificate.id, TIMELINE)
    recent = jobs.page(
        ports, caller, Query((Where("certificate_id", certificate.id),), descending=True, limit=_JOBS, count=False)
    ).items
    around = certificates.surroundings(ports, caller, certificate)
    return Shown(
        "certificate.html",
        {
            "certificate": certificate,
            "issuer": around.issuer,
            "policy": around.policy,
            "profile": around.profile,
            "owner": around.owner,
            "team": around.team,
            "agents": around.agents,
            "versions": versions,
            "revoked": around.revoked,
            "current": {version.id for version in around.newest.values()},
            "life": _life(around.newest.values(), asked.visit.at),
            "placements": [
                _placement(place.target, place.deployment, around.newest.get(place.target.agent_id), versions.items)
                for place in placed
            ],
            "events": events.items,
            "actors": naming.of_actors(ports, caller, events.items),
            "events_more": events.more,
            "jobs": recent,
            "names": naming.of_jobs(ports, caller, recent),
            "can": _possible(certificate, bool(around.newest)),
            "reasons": list(RevocationReason),
        },
    )


@frozen
class Life:
    """How much of a version's validity has gone by, in percent."""

    not_before: datetime
    not_after: datetime
    percent: float


def _life(newest: Any, now: datetime) -> Life | None:
    """Of the version that ends first; None when nothing was issued."""
    first = min(newest, key=lambda version: version.not_after, default=None)
    if first is None:
        return None
    gone = (now - first.not_before) / (first.not_after - first.not_before)
    return Life(first.not_before, first.not_after, round(100 * min(max(gone, 0.0), 1.0), 1))


def _possible(certificate: ManagedCertificate, issued: bool) -> Mapping[str, bool]:
    """Which buttons make sense now."""
    ended = certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)
    on_hold = revocation.is_on_hold(certificate)
    return {
        "renew": CERTIFICATE.allows(certificate.status, CertificateEvent.RENEW),
        "deploy": issued and not ended and bool(certificate.target_ids),
        "revoke": issued and (on_hold or CERTIFICATE.allows(certificate.status, CertificateEvent.REVOKE)),
        "release": on_hold,
    }


def _placement(
    target: ConfiguredTarget,
    known: Deployment | None,
    newest: CertificateVersion | None,
    versions: Sequence[CertificateVersion],
) -> Placement:
    known = known or Deployment(certificate_id=newest.certificate_id, target_id=target.id) if newest else known
    issued = Step("Issued", "yes", f"Version {newest.generation}", newest.created_at) if newest else None
    wanted = newest.fingerprint_sha256 if newest else ""
    known_versions = (*versions, newest) if newest else versions
    generations = {version.fingerprint_sha256: version.generation for version in known_versions}

    def step(name: str, fingerprint: str, at: datetime | None) -> Step:
        if not fingerprint:
            return Step(name, "no", "Not yet")
        generation = generations.get(fingerprint)
        if fingerprint == wanted:
            return Step(name, "yes", f"Version {generation}", at)
        return Step(name, "old", f"Still version {generation}" if generation else "Another certificate", at)

    return Placement(
        target,
        (
            issued or Step("Issued", "no", "Not yet"),
            step("Installed", known.installed_fingerprint if known else "", known.installed_at if known else None),
            step("Served", known.served_fingerprint if known else "", known.served_at if known else None),
        ),
        known.last_error if known else "",
    )


# --- What can be done ---------------------------------------------------------------------------------------------


def renew(desk: Desk, asked: Asked) -> Done:
    identity = asked.path["certificate_id"]
    begun = renewal.renew(desk.ports, asked.visit.principal, identity, reason="asked for in the dashboard")
    waits = "its agent sends" if len(begun) == 1 else f"its {len(begun)} agents send"
    return Done(f"Renewal begun. It goes on as soon as {waits} a CSR.", f"/certificates/{identity}")


def deploy(desk: Desk, asked: Asked) -> Done:
    identity = asked.path["certificate_id"]
    target = TargetId(asked.text("target_id")) if asked.text("target_id") else None
    opened = deployment.deploy(desk.ports, asked.visit.principal, identity, target)
    where = "1 target" if len(opened) == 1 else f"{len(opened)} targets"
    return Done(f"Deployment to {where} queued.", f"/certificates/{identity}")


def ask_revoke(desk: Desk, asked: Asked) -> Shown:
    certificate = certificates.get(desk.ports, asked.visit.principal, asked.path["certificate_id"])
    return Shown("revoke.html", {"certificate": certificate, "reasons": list(RevocationReason)})


def revoke(desk: Desk, asked: Asked) -> Done:
    identity = asked.path["certificate_id"]
    if not asked.text("reason"):
        raise Invalid.field("reason", "choose why the certificate is revoked")
    reason = _choice(RevocationReason, "reason", asked.text("reason"))
    revocation.revoke(desk.ports, asked.visit.principal, identity, reason)
    return Done("Revoked. Within a minute the CRL and every OCSP answer say so.", f"/certificates/{identity}")


def release(desk: Desk, asked: Asked) -> Done:
    identity = asked.path["certificate_id"]
    revocation.release(desk.ports, asked.visit.principal, identity)
    return Done("Released from hold. It is good again, and is renewed as before.", f"/certificates/{identity}")
