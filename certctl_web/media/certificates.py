"""Certificates, their versions and their deployments on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self

import attrs
from attrs import Factory, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import Invalid
from certctl_core.models import certificates as facts
from certctl_core.models.certificates import CertificateSource, CertificateStatus, RevocationReason
from certctl_core.pki import bundle
from certctl_core.ports.store import Is, Query, Where
from certctl_core.usecases import certificates as usecases
from certctl_web.media.bounds import Identity, Length, Name, Range, Reference, Word
from certctl_web.media.catalog import DeploymentTarget
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts, fields_of
from certctl_web.media.writing import or_zero

_SORTS: Final = {
    "notAfter": "expires_at",
    "expiresAt": "expires_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "commonName": "common_name",
    "name": "name",
    "status": "status",
    "environment": "environment",
}


@frozen(kw_only=True)
class ManagedCertificate:
    """A name the fleet must always be able to prove. `expires_at` is `0001-01-01T00:00:00Z` until first issued."""

    id: str
    name: str
    common_name: str
    sans: tuple[str, ...]
    environment: str
    owner_id: str
    team_id: str
    issuer_id: str
    target_ids: tuple[str, ...]
    renewal_policy_id: str
    certificate_profile_id: str | None = None
    status: CertificateStatus
    status_reason: str | None = None
    expires_at: datetime
    renew_at: datetime | None = None
    tags: Mapping[str, str]
    source: CertificateSource
    last_renewal_at: datetime | None = None
    last_deployment_at: datetime | None = None
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.ManagedCertificate) -> Self:
        return cls(
            id=fact.id,
            name=fact.name,
            common_name=fact.common_name,
            sans=fact.sans,
            environment=fact.environment,
            owner_id=fact.owner_id,
            team_id=fact.team_id,
            issuer_id=fact.issuer_id,
            target_ids=fact.target_ids,
            renewal_policy_id=fact.renewal_policy_id,
            certificate_profile_id=fact.profile_id,
            status=fact.status,
            status_reason=fact.status_reason or None,
            expires_at=or_zero(fact.expires_at),
            renew_at=fact.renew_at,
            tags=dict(fact.tags),
            source=fact.source,
            last_renewal_at=fact.last_renewal_at,
            last_deployment_at=fact.last_deployment_at,
            revoked_at=fact.revoked_at,
            revocation_reason=fact.revocation_reason,
            created_at=fact.created_at,
            updated_at=fact.updated_at,
        )


_ALL: Final = fields_of(ManagedCertificate)


@frozen(kw_only=True)
class CreateCertificate(Accepts):
    """A certificate to be managed. It begins Pending, whatever `status` is sent."""

    id: Identity | None = None
    name: Name
    common_name: Name
    sans: tuple[str, ...] = ()
    environment: Word = ""
    owner_id: Identity
    team_id: Identity
    issuer_id: Identity
    renewal_policy_id: Identity
    certificate_profile_id: Reference | None = None
    target_ids: tuple[Reference, ...] = ()
    tags: Mapping[str, str] = Factory(dict)

    blank: ClassVar = frozenset({"id", "certificate_profile_id"})

    def wish(self) -> usecases.CreateCertificate:
        return usecases.CreateCertificate(**_by_fact_names(self))


# `serial_number` is what the established command line sends along when it imports.
CreateCertificate.ignored = (_ALL - fields_of(CreateCertificate)) | {"serial_number"}


@frozen(kw_only=True)
class UpdateCertificate(Accepts):
    """What to change; what is not given stays. `status` follows from what happens to the certificate and may only be
    repeated."""

    name: Name | None = None
    common_name: Name | None = None
    sans: tuple[str, ...] | None = None
    environment: Word | None = None
    owner_id: Reference | None = None
    team_id: Reference | None = None
    issuer_id: Reference | None = None
    renewal_policy_id: Reference | None = None
    certificate_profile_id: Reference | None = None
    target_ids: tuple[Reference, ...] | None = None
    tags: Mapping[str, str] | None = None
    status: CertificateStatus | None = None

    def wish(self) -> usecases.UpdateCertificate:
        wanted = _by_fact_names(self)
        del wanted["status"]
        return usecases.UpdateCertificate(**wanted)


UpdateCertificate.ignored = _ALL - fields_of(UpdateCertificate)
UpdateCertificate.blank = fields_of(UpdateCertificate)


def _by_fact_names(asked: attrs.AttrsInstance) -> dict[str, Any]:
    wanted = attrs.asdict(asked, recurse=False)
    wanted["profile_id"] = wanted.pop("certificate_profile_id")
    return wanted


@frozen(kw_only=True)
class CertificateList(Paging):
    """Which certificates, in which order, and how much of each."""

    status: CertificateStatus | None = None
    environment: str | None = None
    owner_id: str | None = None
    team_id: str | None = None
    issuer_id: str | None = None
    agent_id: str | None = None
    profile_id: str | None = None
    expires_before: datetime | None = None
    expires_after: datetime | None = None
    created_after: datetime | None = None
    updated_after: datetime | None = None
    sort: str = "createdAt"
    sort_desc: bool = False
    page_size: Annotated[int, Range(1, 500)] | None = None
    fields: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.page_size or self.per_page

    def wish(self) -> Query:
        """Raises `Invalid` for an order or a field that does not exist, and for a cursor of another order."""
        if unknown := [name for name in self.fields if name not in _ALL]:
            raise Invalid.field("fields", f"{unknown[0]} is no field of a certificate", hint=_choices(_ALL))
        sort, descending = self._order()
        asked = self.ask(*self._where(), sort=sort, descending=descending)
        return attrs.evolve(asked, limit=self.size, offset=0 if self.cursor else (self.page - 1) * self.size)

    def _order(self) -> tuple[str, bool]:
        name = self.sort.removeprefix("-")
        if name not in _SORTS:
            raise Invalid.field("sort", f"{name!r} is no order", hint=_choices(_SORTS))
        return _SORTS[name], self.sort_desc or self.sort.startswith("-")

    def _where(self) -> tuple[Where, ...]:
        equal = ("status", "environment", "owner_id", "team_id", "issuer_id", "agent_id", "profile_id")
        bounds = (
            ("expires_at", self.expires_before, Is.BEFORE),
            ("expires_at", self.expires_after, Is.AFTER),
            ("created_at", self.created_after, Is.AFTER),
            ("updated_at", self.updated_after, Is.AFTER),
        )
        return (
            *(Where(name, value) for name in equal if (value := getattr(self, name)) is not None),
            *(Where(name, value, how) for name, value, how in bounds if value is not None),
        )


def _choices(names: Any) -> str:
    return f"Possible: {', '.join(sorted(names))}."


@frozen(kw_only=True)
class CertificateVersion:
    """One issued certificate. `pem_chain` is the leaf and what is above it; `agent_id` names the holder of its key."""

    id: str
    certificate_id: str
    serial_number: str
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str
    pem_chain: str
    csr_pem: str
    key_algorithm: str | None = None
    key_size: int | None = None
    agent_id: str | None = None
    issuer_id: str
    created_at: datetime

    @classmethod
    def of(cls, fact: facts.CertificateVersion) -> Self:
        return cls(
            id=fact.id,
            certificate_id=fact.certificate_id,
            serial_number=fact.serial_number,
            not_before=fact.not_before,
            not_after=fact.not_after,
            fingerprint_sha256=fact.fingerprint_sha256,
            pem_chain=pem_chain(fact),
            csr_pem=fact.csr.public_bytes(Encoding.PEM).decode() if fact.csr else "",
            key_algorithm=fact.key_algorithm or None,
            key_size=fact.key_size or None,
            agent_id=fact.agent_id,
            issuer_id=fact.issuer_id,
            created_at=fact.created_at,
        )


def pem_chain(version: facts.CertificateVersion) -> str:
    """Leaf first, then the chain."""
    return bundle.to_pem(version.certificate, *version.chain)


@frozen(kw_only=True)
class DeploymentState:
    """What is known of a certificate on a target: installed is what its agent wrote, served what a probe saw."""

    installed_fingerprint: str
    installed_at: datetime | None = None
    served_fingerprint: str
    served_at: datetime | None = None
    last_error: str | None = None

    @classmethod
    def of(cls, fact: facts.Deployment) -> Self:
        return cls(
            installed_fingerprint=fact.installed_fingerprint,
            installed_at=fact.installed_at,
            served_fingerprint=fact.served_fingerprint,
            served_at=fact.served_at,
            last_error=fact.last_error or None,
        )


@frozen(kw_only=True)
class CertificateDeployment(DeploymentTarget):
    """A target of a certificate; `deployment` is missing before the first one."""

    deployment: DeploymentState | None = None

    @classmethod
    def of_deployed(cls, fact: usecases.DeployedTo) -> Self:
        state = DeploymentState.of(fact.deployment) if fact.deployment else None
        return cls(**attrs.asdict(DeploymentTarget.of(fact.target), recurse=False), deployment=state)


@frozen(kw_only=True)
class CertificateDeployments:
    data: tuple[CertificateDeployment, ...]
    total: int


@frozen(kw_only=True)
class Renew(Accepts):
    """`force` starts over a renewal that is under way; `reason` is kept in the audit trail."""

    force: bool = False
    reason: Annotated[str, Length(0, 1000)] = ""

    anything: ClassVar = True


@frozen(kw_only=True)
class RenewQuery:
    force: bool = False


@frozen(kw_only=True)
class RenewalTriggered:
    """`job_id` is the first of `job_ids`: there is one job for each agent that makes a key."""

    status: str = "renewal_triggered"
    job_id: str
    job_ids: tuple[str, ...]


@frozen(kw_only=True)
class Deploy(Accepts):
    """Without a target, to all of them."""

    target_id: str | None = None

    blank: ClassVar = frozenset({"target_id"})


@frozen(kw_only=True)
class DeploymentTriggered:
    status: str = "deployment_triggered"
    job_ids: tuple[str, ...]


@frozen(kw_only=True)
class Revoke(Accepts):
    """`invalid_since` is from when on the key is known, or thought, not to have been good: the invalidityDate of the
    CRL entry (RFC 5280 section 5.3.2)."""

    reason: RevocationReason = RevocationReason.UNSPECIFIED
    invalid_since: datetime | None = None

    blank: ClassVar = frozenset({"reason", "invalid_since"})
