"""Import on the wire."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from attrs import Factory, frozen

from certctl_core.ids import IssuerId, OwnerId, ProfileId, RenewalPolicyId, TeamId
from certctl_core.usecases import candidates
from certctl_core.usecases import importing as usecases
from certctl_web.media.bounds import PLAIN, Count, Identity, Length, Reference, Word
from certctl_web.media.reading import Accepts


@frozen(kw_only=True)
class ImportEntry(Accepts):
    """A certificate in PEM, the one to manage first, then those above it. `source`, such as a file name, is kept as the
    tag `imported_from`."""

    pem: Annotated[str, Length(1, 1 << 20)]
    source: Annotated[str, Length(0, 1024), PLAIN] = ""


@frozen(kw_only=True)
class ImportCertificates(Accepts):
    """Certificates that were issued elsewhere, and whose they are to be. `name_template` may have the places `{cn}`,
    `{serial}`, `{fingerprint}`, `{issuer}`, `{not_after}` and `{source}`; a name that is taken gets a part of the
    fingerprint at its end. The body as a whole must keep to the server's limit, 1 MiB by default: send as many in a
    request as fit."""

    owner_id: Identity
    team_id: Identity
    issuer_id: Identity
    renewal_policy_id: Identity
    certificate_profile_id: Reference | None = None
    environment: Word = "imported"
    name_template: Annotated[str, Length(1, 255), PLAIN] = "{cn}"
    tags: Mapping[str, str] = Factory(dict)
    certificates: Annotated[tuple[ImportEntry, ...], Count(1, usecases.MOST)]

    blank: ClassVar = frozenset({"certificate_profile_id", "environment", "name_template"})

    def wish(self) -> usecases.ImportCertificates:
        return usecases.ImportCertificates(
            owner_id=OwnerId(self.owner_id),
            team_id=TeamId(self.team_id),
            issuer_id=IssuerId(self.issuer_id),
            renewal_policy_id=RenewalPolicyId(self.renewal_policy_id),
            profile_id=ProfileId(self.certificate_profile_id) if self.certificate_profile_id else None,
            environment=self.environment,
            name_template=self.name_template,
            tags=self.tags,
            entries=tuple(candidates.Entry(entry.pem, entry.source) for entry in self.certificates),
        )


@frozen(kw_only=True)
class ImportedCertificate:
    """`index` is the place of the entry in the request, counted from 0. `is_foreign` tells that the issuer's CA did not
    sign it, so that it can neither revoke nor answer for it."""

    index: int
    id: str
    name: str
    serial_number: str
    fingerprint_sha256: str
    is_foreign: bool

    @classmethod
    def of(cls, fact: usecases.Imported) -> Self:
        return cls(
            index=fact.index,
            id=fact.certificate.id,
            name=fact.certificate.name,
            serial_number=fact.version.serial_number,
            fingerprint_sha256=fact.version.fingerprint_sha256,
            is_foreign=fact.version.is_foreign,
        )


@frozen(kw_only=True)
class SkippedCertificate:
    """It was not imported, and nothing is wrong with that. `certificate_id` is the one that it is already."""

    index: int
    reason: str
    certificate_id: str | None = None

    @classmethod
    def of(cls, fact: candidates.Skipped) -> Self:
        return cls(index=fact.index, reason=fact.reason, certificate_id=fact.certificate_id)


@frozen(kw_only=True)
class FailedCertificate:
    index: int
    error: str

    @classmethod
    def of(cls, fact: candidates.Failed) -> Self:
        return cls(index=fact.index, error=fact.error)


@frozen(kw_only=True)
class ImportResult:
    """What became of each entry."""

    imported: tuple[ImportedCertificate, ...]
    skipped: tuple[SkippedCertificate, ...]
    failed: tuple[FailedCertificate, ...]
    total_imported: int
    total_skipped: int
    total_failed: int

    @classmethod
    def of(cls, fact: usecases.Result) -> Self:
        return cls(
            imported=tuple(ImportedCertificate.of(one) for one in fact.imported),
            skipped=tuple(SkippedCertificate.of(one) for one in fact.skipped),
            failed=tuple(FailedCertificate.of(one) for one in fact.failed),
            total_imported=len(fact.imported),
            total_skipped=len(fact.skipped),
            total_failed=len(fact.failed),
        )
