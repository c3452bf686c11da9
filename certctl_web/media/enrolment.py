"""Enrolment secrets on the wire."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

import attrs
from attrs import frozen

from certctl_core.models import enrolment as facts
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.usecases import enrolment_secrets as usecases
from certctl_web.media.bounds import PLAIN, Count, Length, Matching, Range, Word
from certctl_web.media.paging import Paging

LABEL: Final = re.compile(r"[a-z0-9-]{0,64}")
Label = Annotated[str, Matching(LABEL, "a label of the protocol, in lower case, or empty for its own paths")]
San = Annotated[str, Length(1, 2048), PLAIN]


@frozen(kw_only=True)
class EnrolmentSecretFilter(Paging):
    """Which enrolment secrets to list."""

    protocol: EnrolmentProtocol | None = None
    label: Label | None = None


@frozen(kw_only=True)
class CreateEnrolmentSecret:
    """A secret for devices of a label. With `common_name` or `sans` it is good for these names only; `ttl_seconds` is
    how long."""

    protocol: EnrolmentProtocol
    label: Label = ""
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
