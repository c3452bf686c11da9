"""Enrolment secrets, and the labels of EST, on the wire."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

import attrs
from attrs import frozen
from cryptography import x509

from certctl_core.models import enrolment as facts
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.usecases import enrolment_secrets as usecases
from certctl_core.usecases.est import Label, Method
from certctl_web.media.bounds import PLAIN, Count, Length, Matching, Range, Word
from certctl_web.media.paging import Paging

LABEL: Final = re.compile(r"[a-z0-9-]{0,64}")
LabelName = Annotated[str, Matching(LABEL, "a label of the protocol, in lower case, or empty for its own paths")]
San = Annotated[str, Length(1, 2048), PLAIN]


@frozen(kw_only=True)
class EnrolmentSecretFilter(Paging):
    """Which enrolment secrets to list."""

    protocol: EnrolmentProtocol | None = None
    label: LabelName | None = None


@frozen(kw_only=True)
class CreateEnrolmentSecret:
    """A secret for devices of a label. With `common_name` or `sans` it is good for these names only; `ttl_seconds` is
    how long."""

    protocol: EnrolmentProtocol
    label: LabelName = ""
    description: Word = ""
    common_name: Annotated[str, Length(0, 253), PLAIN] = ""
    sans: Annotated[tuple[San, ...], Count(0, 100)] = ()
    single_use: bool = True
    ttl_seconds: Annotated[int, Range(1, int(usecases.LONGEST_LIFE.total_seconds()))] = int(
        usecases.LIFE.total_seconds()
    )

    def wish(self) -> usecases.CreateSecret:
        fields = attrs.asdict(self, recurse=False)
        return usecases.CreateSecret(life=timedelta(seconds=fields.pop("ttl_seconds")), **fields)


@frozen(kw_only=True)
class EnrolmentSecret:
    """A secret's record; the secret itself is kept nowhere. `used_for` is the transaction that used a single-use one
    up."""

    id: str
    protocol: EnrolmentProtocol
    label: str
    description: str
    common_name: str
    sans: tuple[str, ...]
    single_use: bool
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    used_for: str = ""

    @classmethod
    def of(cls, fact: facts.EnrolmentSecret) -> Self:
        return cls(**{a.name: getattr(fact, a.name) for a in attrs.fields(EnrolmentSecret)})


@frozen(kw_only=True)
class CreatedEnrolmentSecret(EnrolmentSecret):
    """`secret` is shown this once: an HTTP password (EST) or a challengePassword (SCEP)."""

    secret: str

    @classmethod
    def of_new(cls, made: usecases.NewSecret) -> Self:
        return cls(**attrs.asdict(EnrolmentSecret.of(made.record), recurse=False), secret=made.plain)


@frozen(kw_only=True)
class TrustAnchor:
    """A CA whose certificates enrol."""

    subject: str
    not_before: datetime
    not_after: datetime
    days_to_expiry: int
    expired: bool

    @classmethod
    def of(cls, certificate: x509.Certificate, now: datetime) -> Self:
        ends = certificate.not_valid_after_utc
        return cls(
            subject=certificate.subject.rfc4514_string(),
            not_before=certificate.not_valid_before_utc,
            not_after=ends,
            days_to_expiry=(ends - now).days,
            expired=ends <= now,
        )


@frozen(kw_only=True)
class EstProfile:
    """A label of EST as it is served: `path_id` is its name, empty for the protocol's own paths. `auth_modes` are the
    ways in which devices may show who they are."""

    path_id: str
    issuer_id: str
    profile_id: str | None = None
    auth_modes: tuple[str, ...]
    mtls_enabled: bool
    basic_auth_configured: bool
    server_keygen_enabled: bool
    channel_binding_required: bool
    rate_limit_per_principal_24h: int
    trust_anchors: tuple[TrustAnchor, ...] = ()
    trust_anchor_path: str | None = None
    now: datetime

    @classmethod
    def of(cls, label: Label, trust_anchor_path: str | None, now: datetime) -> Self:
        return cls(
            path_id=label.name,
            issuer_id=label.issuer_id,
            profile_id=label.profile_id,
            auth_modes=tuple(sorted(method.value for method in label.methods)),
            mtls_enabled=Method.MTLS in label.methods,
            basic_auth_configured=Method.BASIC in label.methods,
            server_keygen_enabled=label.makes_keys,
            channel_binding_required=label.is_bound,
            rate_limit_per_principal_24h=label.per_day,
            trust_anchors=tuple(TrustAnchor.of(one, now) for one in label.trusted),
            trust_anchor_path=trust_anchor_path,
            now=now,
        )


@frozen(kw_only=True)
class EstProfiles:
    profiles: tuple[EstProfile, ...]
    profile_count: int
    generated_at: datetime


@frozen(kw_only=True)
class ReloadTrust:
    """Which label's bundle is to be read anew."""

    path_id: LabelName = ""


@frozen(kw_only=True)
class ReloadedTrust:
    reloaded: bool
    path_id: str
    reloaded_at: datetime
