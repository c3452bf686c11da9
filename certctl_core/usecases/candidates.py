"""Uploaded certificates on their way in: read, told from those that are there already, and given names."""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import CertctlError
from certctl_core.ids import CertificateId, IssuerId
from certctl_core.models.access import Principal
from certctl_core.models.certificates import CertificateStatus
from certctl_core.pki import uploads
from certctl_core.pki.uploads import Upload
from certctl_core.policy.naming import NameTemplate
from certctl_core.ports.store import Is, Query, Where, Work
from certctl_core.usecases import scope

_LIVING: Final = tuple(status for status in CertificateStatus if status is not CertificateStatus.ARCHIVED)


@frozen
class Entry:
    """A certificate in PEM, the one to manage first and those above it after it; `source` says where it was found."""

    pem: str = field(repr=False)
    source: str = ""


@frozen
class Skipped:
    """It is not imported, and nothing is wrong with that. `certificate_id` is the one that it is already, if the caller
    may see it."""

    index: int
    reason: str
    certificate_id: CertificateId | None = None


@frozen
class Failed:
    index: int
    error: str


@frozen
class Candidate:
    """An entry that was read. `is_foreign`: the issuer's CA did not sign it."""

    index: int
    source: str
    upload: Upload
    is_foreign: bool

    @property
    def fingerprint(self) -> str:
        return self.upload.facts.fingerprint_sha256

    @property
    def serial(self) -> str | None:
        """What tells it from others of the issuer, if that issued it."""
        return None if self.is_foreign else self.upload.facts.serial_number


def read(
    entries: Sequence[Entry], authorities: Sequence[x509.Certificate]
) -> tuple[Sequence[Candidate], tuple[Skipped, ...], tuple[Failed, ...]]:
    """The entries that can be managed, and what is to be said of the others."""
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    failed: list[Failed] = []
    for index, entry in enumerate(entries):
        try:
            upload = uploads.read(entry.pem)
        except CertctlError as problem:
            failed.append(Failed(index, str(problem)))
            continue
        if upload.facts.is_ca:
            whose = uploads.shown(upload.facts.subject)
            skipped.append(Skipped(index, f"it is the CA certificate of {whose!r}; the one to manage comes first"))
            continue
        is_foreign = not uploads.is_of(upload.certificate, authorities)
        candidates.append(Candidate(index, entry.source, upload, is_foreign))
    return candidates, tuple(skipped), tuple(failed)


# --- what is there already --------------------------------------------------------------------------------------------


def sift(
    work: Work, caller: Principal, issuer_id: IssuerId, candidates: Sequence[Candidate]
) -> tuple[tuple[Candidate, ...], tuple[Skipped, ...]]:
    """Those that are new, and those that are managed already or come twice."""
    by_fingerprint = work.versions.owners_of(candidate.fingerprint for candidate in candidates)
    serials = [candidate.serial for candidate in candidates if candidate.serial is not None]
    by_serial = work.versions.owners_of_serials(issuer_id, serials)
    owners = {
        candidate.index: by_fingerprint.get(candidate.fingerprint) or by_serial.get(candidate.serial or "")
        for candidate in candidates
    }
    visible = {
        certificate.id
        for certificate in work.certificates.many(owner for owner in owners.values() if owner is not None).values()
        if scope.sees(caller, certificate)
    }
    fresh: dict[str, Candidate] = {}
    seen: dict[str, int] = {}
    skipped: list[Skipped] = []
    for candidate in candidates:
        keys = [candidate.fingerprint, *([f"serial {candidate.serial}"] if candidate.serial else [])]
        first = next((seen[key] for key in keys if key in seen), None)
        owner = owners[candidate.index]
        if owner is not None:
            told = owner if owner in visible else None
            skipped.append(Skipped(candidate.index, "it is managed already", told))
        elif first is not None:
            skipped.append(Skipped(candidate.index, f"it is the same as entry {first}"))
        else:
            fresh[candidate.fingerprint] = candidate
            seen |= dict.fromkeys(keys, candidate.index)
    return tuple(fresh.values()), tuple(skipped)


# --- names ------------------------------------------------------------------------------------------------------------


def name(work: Work, template: NameTemplate, candidates: Sequence[Candidate]) -> Mapping[int, str]:
    """A name for each that no living certificate has, by index: what the template says or, where that is taken, with
    the beginning of the fingerprint after it."""
    wanted = {candidate.index: template.choices(candidate.upload, candidate.source) for candidate in candidates}
    taken = _taken(work, tuple({name for names in wanted.values() for name in names}))
    chosen: dict[int, str] = {}
    for index, names in wanted.items():
        # The last of them has the whole fingerprint in it. If even that is taken, the database says so.
        chosen[index] = next((name for name in names if name not in taken), names[-1])
        taken.add(chosen[index])
    return chosen


def _taken(work: Work, names: tuple[str, ...]) -> set[str]:
    if not names:
        return set()
    where = (Where("name", names, Is.ONE_OF), Where("status", _LIVING, Is.ONE_OF))
    found = work.certificates.page(Query(where, sort="name", limit=len(names), count=False))
    return {certificate.name for certificate in found.items}
