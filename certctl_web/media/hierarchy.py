"""CAs of an issuer on the wire. The established name of each is an intermediate CA, roots included."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Self

from attrs import Factory, frozen
from cryptography import x509
from cryptography.x509.oid import NameOID

from certctl_core.errors import FieldProblem, Invalid
from certctl_core.models.authorities import SEALED, AuthorityState
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import bundle, constraints, keys, reading
from certctl_core.pki.ca import MAX_CHAIN
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import PolicyInformation
from certctl_core.usecases import hierarchy
from certctl_web.media.bounds import Count, Length, Name, Prose, Range, Reference
from certctl_web.media.reading import Accepts
from certctl_web.media.writing import or_zero

Part = Annotated[str, Length(1, 128)]
Parts = Annotated[tuple[Part, ...], Count(0, 10)]
Text = Annotated[str, Length(1, 2048)]
Pem = Annotated[str, Length(1, reading.MAX_BUNDLE_BYTES)]
LONGEST_DAYS = 36500


@frozen(kw_only=True)
class NameLimits:
    """Name constraints: `DNS:example.com` (also without `DNS:`), `IP:10.0.0.0/8`, `email:example.com`,
    `URI:.example.com`, `dirName:O=Example,C=DE`."""

    permitted: Annotated[tuple[Text, ...], Count(0, constraints.MAX_SUBTREES)] = ()
    excluded: Annotated[tuple[Text, ...], Count(0, constraints.MAX_SUBTREES)] = ()


@frozen(kw_only=True)
class Subject:
    """The name of a CA."""

    common_name: Part
    organization: Parts = ()
    organizational_unit: Parts = ()
    country: Parts = ()
    locality: Parts = ()
    province: Parts = ()

    def name(self) -> x509.Name:
        """Most significant first, as directories have it. Raises `Invalid` naming the field."""
        parts = [
            *((NameOID.COUNTRY_NAME, "country", one) for one in self.country),
            *((NameOID.STATE_OR_PROVINCE_NAME, "province", one) for one in self.province),
            *((NameOID.LOCALITY_NAME, "locality", one) for one in self.locality),
            *((NameOID.ORGANIZATION_NAME, "organization", one) for one in self.organization),
            *((NameOID.ORGANIZATIONAL_UNIT_NAME, "organizational_unit", one) for one in self.organizational_unit),
            (NameOID.COMMON_NAME, "common_name", self.common_name),
        ]
        problems: list[FieldProblem] = []
        made: list[x509.NameAttribute[str]] = []
        for oid, field, value in parts:
            try:
                made.append(x509.NameAttribute(oid, value))
            except ValueError as problem:
                problems.append(FieldProblem(f"subject.{field}", str(problem)))
        if problems:
            raise Invalid("; ".join(f"{one.field}: {one.message}" for one in problems), fields=problems)
        return x509.Name(made)


@frozen(kw_only=True)
class Policy:
    """A certificate policy and where its practice statement is."""

    oid: Annotated[str, Length(3, 200)]
    cps: Annotated[str, Length(0, 2048)] = ""


@frozen(kw_only=True)
class IntermediateCa:
    """A CA of an issuer. `signs_leafs` says which one signs the issuer's new certificates; `chain_pem` is its
    certificate and those above it, `csr_pem` what the certificate of a pending one is asked for with,
    `links_pem` the links between a root and the one before it, `drains_at` when
    the last certificate of a retiring one ends."""

    id: str
    owning_issuer_id: str
    parent_ca_id: str | None = None
    name: str
    subject: str
    state: AuthorityState
    signs_leafs: bool
    cert_pem: str
    chain_pem: str
    csr_pem: str | None = None
    links_pem: str | None = None
    key_driver_id: str
    key_identifier: str
    key_algorithm: str
    not_before: datetime
    not_after: datetime
    path_len_constraint: int | None = None
    name_constraints: tuple[NameLimits, ...] | None = None
    ocsp_responder_url: str | None = None
    metadata: Mapping[str, str] | None = None
    signs_from: datetime | None = None
    drains_at: datetime | None = None
    revoked_at: datetime | None = None
    note: str | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, shown: hierarchy.Shown) -> Self:
        stored, chain = shown.authority, shown.chain
        request = x509.load_der_x509_csr(stored.csr) if stored.csr else None
        known = reading.facts(chain[0]) if chain else None
        holder = chain[0] if chain else request
        return cls(
            id=stored.id,
            owning_issuer_id=stored.issuer_id or "",
            parent_ca_id=stored.parent_id,
            name=stored.name,
            subject=stored.subject,
            state=stored.state,
            signs_leafs=shown.signs_leafs,
            cert_pem=bundle.to_pem(*chain[:1]),
            chain_pem=bundle.to_pem(*chain),
            csr_pem=bundle.csr_to_pem(request) if request else None,
            links_pem=bundle.to_pem(*map(reading.certificate, stored.links)) or None,
            key_driver_id=stored.key_driver_id,
            key_identifier=reading.key_identifier_of(chain[0]).hex() if chain else "",
            key_algorithm=str(keys.describe(holder.public_key())) if holder else "",
            not_before=or_zero(known.not_before if known else None),
            not_after=or_zero(known.not_after if known else None),
            path_len_constraint=known.path_length if known else None,
            name_constraints=_limits(chain[0]) if chain else None,
            ocsp_responder_url=stored.ocsp_responder_url or None,
            metadata=dict(stored.metadata) or None,
            signs_from=stored.signs_from,
            drains_at=stored.drains_at,
            revoked_at=stored.revoked_at,
            note=stored.note or None,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
        )


def _limits(certificate: x509.Certificate) -> tuple[NameLimits, ...] | None:
    found = constraints.of(certificate)
    if found is None:
        return None
    permitted, excluded = (
        tuple(constraints.text_of(one) for one in several or ())
        for several in (found.permitted_subtrees, found.excluded_subtrees)
    )
    return (NameLimits(permitted=permitted, excluded=excluded),)


@frozen(kw_only=True)
class IntermediateCas:
    data: tuple[IntermediateCa, ...]


@frozen(kw_only=True)
class CreateIntermediateCa(Accepts):
    """A CA to be: below `parent_ca_id` (an issuer's id stands for the CA that signs its leafs); with `external` one
    whose certificate another CA is asked for; with `root_cert_pem` one that is there already and whose key is in a
    token (`key_driver_id` is `pkcs11:LABEL`); otherwise a new root. A new key is made with `key_driver_id`, `sealed` or
    `pkcs11`."""

    name: Name
    parent_ca_id: Reference | None = None
    external: bool = False
    root_cert_pem: Pem | None = None
    key_driver_id: Annotated[str, Length(1, 200)] = SEALED
    subject: Subject | None = None
    algorithm: KeyKind = KeyKind.ECDSA_P256
    ttl_days: Annotated[int, Range(1, LONGEST_DAYS)] | None = None
    path_len_constraint: Annotated[int, Range(0, MAX_CHAIN)] | None = None
    name_constraints: Annotated[tuple[NameLimits, ...], Count(0, 10)] = ()
    policies: Annotated[tuple[Policy, ...], Count(0, 10)] = ()
    ocsp_responder_url: Annotated[str, Length(0, 2048)] = ""
    metadata: Mapping[str, str] = Factory(dict)

    blank: ClassVar = frozenset({"parent_ca_id", "root_cert_pem", "key_driver_id"})

    def wish(self) -> hierarchy.CreateAuthority:
        """The name is the subject's common name where no subject is given."""
        subject = (self.subject or Subject(common_name=self.name[:64])).name()
        return hierarchy.CreateAuthority(
            name=self.name,
            subject=subject,
            parent_id=self.parent_ca_id or "",
            is_external=self.external,
            certificates=reading.certificates(self.root_cert_pem, limit=MAX_CHAIN) if self.root_cert_pem else (),
            key_driver_id=self.key_driver_id,
            key_kind=self.algorithm,
            life=timedelta(days=self.ttl_days) if self.ttl_days else None,
            path_length=self.path_len_constraint,
            permitted=tuple(text for one in self.name_constraints for text in one.permitted),
            excluded=tuple(text for one in self.name_constraints for text in one.excluded),
            policies=tuple(PolicyInformation(one.oid, one.cps) for one in self.policies),
            ocsp_responder_url=self.ocsp_responder_url,
            metadata=dict(self.metadata),
        )


@frozen(kw_only=True)
class InstallCertificate(Accepts):
    """The certificate of a CA and those above it up to the root, in any order."""

    certificate_pem: Pem

    def certificates(self) -> tuple[x509.Certificate, ...]:
        return reading.certificates(self.certificate_pem, limit=MAX_CHAIN)


@frozen(kw_only=True)
class RetireIntermediateCa(Accepts):
    note: Prose = ""
    confirm: bool = False


@frozen(kw_only=True)
class RevokeIntermediateCa(Accepts):
    reason: RevocationReason = RevocationReason.CA_COMPROMISE
    note: Prose = ""


@frozen(kw_only=True)
class RetiredIntermediateCa:
    """`confirmed` when it signs nothing any more; otherwise it is finished at `drains_at`."""

    id: str
    decided_by: str
    confirmed: bool
    drains_at: datetime | None = None
