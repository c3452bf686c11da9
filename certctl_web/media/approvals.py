"""Approval requests on the wire."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from attrs import frozen

from certctl_core.models import approvals as facts
from certctl_core.models.approvals import ApprovalState
from certctl_core.ports.store import Query, Where
from certctl_web.media.bounds import Length
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts


@frozen(kw_only=True)
class ApprovalRequest:
    """What is to be issued and who has to agree to it.

    `content` is everything that is known of the certificate before its key is made. `content_sha256` is the SHA-256 of
    its canonical text: keys sorted, no spaces, UTF-8. `closed_reason` says why a request expired. `metadata` shows the
    most important of it as texts.
    """

    id: str
    certificate_id: str
    job_id: str
    profile_id: str
    requested_by: str
    state: ApprovalState
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_note: str | None = None
    closed_reason: str | None = None
    metadata: Mapping[str, str]
    content: Mapping[str, Any]
    content_sha256: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.ApprovalRequest) -> Self:
        content = json.loads(fact.content)
        return cls(
            id=fact.id,
            certificate_id=fact.certificate_id,
            job_id=fact.job_id,
            profile_id=fact.profile_id or "",
            requested_by=fact.requested_by,
            state=fact.state,
            decided_by=fact.decided_by or None,
            decided_at=fact.decided_at,
            decision_note=fact.decision_note or None,
            closed_reason=fact.closed_reason or None,
            metadata={
                "common_name": content["common_name"],
                "names": ", ".join(content["names"]),
                "issuer_id": content["issuer"]["id"],
            },
            content=content,
            content_sha256=fact.content_sha256,
            created_at=fact.created_at,
            updated_at=fact.updated_at,
        )


@frozen(kw_only=True)
class ApprovalList(Paging):
    """Newest first."""

    state: ApprovalState | None = None
    certificate_id: str | None = None
    job_id: str | None = None
    requested_by: str | None = None

    def wish(self) -> Query:
        names = ("state", "certificate_id", "job_id", "requested_by")
        where = (Where(name, value) for name in names if (value := getattr(self, name)) is not None)
        return self.ask(*where, descending=True)


@frozen(kw_only=True)
class Decide(Accepts):
    """`note` is kept with the decision."""

    note: Annotated[str, Length(0, 1000)] = ""


@frozen(kw_only=True)
class Decided:
    """`action` is `approved` or `rejected`."""

    id: str
    decided_by: str
    action: str

    @classmethod
    def of(cls, fact: facts.ApprovalRequest) -> Self:
        return cls(id=fact.id, decided_by=fact.decided_by, action=fact.state.value)
