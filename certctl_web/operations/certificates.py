"""Certificates: create, change, archive, look, renew, deploy, revoke."""

from typing import Any, Final

from certctl_core.errors import Conflict, Duplicate, IllegalTransition, Invalid, Refused, StaleWrite
from certctl_core.ids import TargetId
from certctl_core.models import certificates as facts
from certctl_core.usecases import certificates, deployment, renewal, revocation
from certctl_web.access import OPERATORS, PEOPLE
from certctl_web.media import writing
from certctl_web.media.certificates import (
    CertificateDeployment,
    CertificateDeployments,
    CertificateList,
    CertificateVersion,
    CreateCertificate,
    Deploy,
    DeploymentTriggered,
    ManagedCertificate,
    Renew,
    RenewalTriggered,
    RenewQuery,
    Revoke,
    UpdateCertificate,
)
from certctl_web.media.paging import CursorPagedResponse, PagedResponse, Paging, paged, write_cursor
from certctl_web.media.records import StatusResponse
from certctl_web.operation import Answer, Call, Operation, Row

_PATH: Final = "/api/v1/certificates"
_ONE: Final = f"{_PATH}/{{id}}"


def page(call: Call[CertificateList], _: None) -> PagedResponse[ManagedCertificate] | Answer[Any]:
    asked = call.query
    found = certificates.page(call.ports, call.caller, asked.wish())
    rows = tuple(_sparse(fact, asked.fields) for fact in found.items)
    following = write_cursor(found.next) if found.next else None
    if asked.cursor:
        by_cursor = CursorPagedResponse(data=rows, total=found.total, next_cursor=following, page_size=asked.size)
        return Answer(content=by_cursor)
    return PagedResponse(data=rows, total=found.total, page=asked.page, per_page=asked.per_page, next_cursor=following)


def _sparse(fact: facts.ManagedCertificate, names: tuple[str, ...]) -> Any:
    whole = ManagedCertificate.of(fact)
    if not names:
        return whole
    return {name: value for name, value in writing.plain(whole).items() if name in names}


def create(call: Call[None], asked: CreateCertificate) -> ManagedCertificate:
    return ManagedCertificate.of(certificates.create(call.ports, call.caller, asked.wish()))


def get(call: Call[None], _: None) -> ManagedCertificate:
    return ManagedCertificate.of(certificates.get(call.ports, call.caller, call.path["id"]))


def update(call: Call[None], asked: UpdateCertificate) -> ManagedCertificate:
    if asked.status is not None:
        present = certificates.get(call.ports, call.caller, call.path["id"]).status
        if present is not asked.status:
            raise IllegalTransition(
                f"the status is {present.value} and follows from what happens to the certificate",
                hint="Leave status out; renew, revoke or archive the certificate instead.",
            )
    return ManagedCertificate.of(certificates.update(call.ports, call.caller, call.path["id"], asked.wish()))


def archive(call: Call[None], _: None) -> None:
    certificates.archive(call.ports, call.caller, call.path["id"])


def versions(call: Call[Paging], _: None) -> PagedResponse[CertificateVersion]:
    asked = call.query
    place = asked.after("generation", int, descending=True)
    found = certificates.versions(call.ports, call.caller, call.path["id"], asked.per_page, asked.offset, place)
    return paged(call.query, found, CertificateVersion.of)


def deployments(call: Call[None], _: None) -> CertificateDeployments:
    found = certificates.deployments(call.ports, call.caller, call.path["id"])
    return CertificateDeployments(data=tuple(CertificateDeployment.of_deployed(one) for one in found), total=len(found))


def renew(call: Call[RenewQuery], asked: Renew) -> RenewalTriggered:
    force = asked.force or call.query.force
    jobs = renewal.renew(call.ports, call.caller, call.path["id"], force=force, reason=asked.reason)
    return RenewalTriggered(job_id=jobs[0].id, job_ids=tuple(job.id for job in jobs))


def deploy(call: Call[None], asked: Deploy) -> DeploymentTriggered:
    target_id = TargetId(asked.target_id) if asked.target_id else None
    jobs = deployment.deploy(call.ports, call.caller, call.path["id"], target_id)
    return DeploymentTriggered(job_ids=tuple(job.id for job in jobs))


def revoke(call: Call[None], asked: Revoke) -> StatusResponse:
    revocation.revoke(call.ports, call.caller, call.path["id"], asked.reason, asked.invalid_since)
    return StatusResponse(status="revoked")


def release(call: Call[None], _: None) -> StatusResponse:
    revocation.release(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="released")


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_certificates",
        method="GET",
        path=_PATH,
        summary="List certificates, filtered, sorted, by page or by cursor",
        who=PEOPLE,
        run=page,
        query=CertificateList,
        answer=PagedResponse[ManagedCertificate] | CursorPagedResponse[ManagedCertificate],
    ),
    Operation(
        name="create_certificate",
        method="POST",
        path=_PATH,
        summary="Put a certificate under management",
        who=OPERATORS,
        run=create,
        body=CreateCertificate,
        answer=ManagedCertificate,
        status=201,
        errors=(Duplicate, Refused),
    ),
    Operation(
        name="get_certificate",
        method="GET",
        path=_ONE,
        summary="Show one certificate",
        who=PEOPLE,
        run=get,
        answer=ManagedCertificate,
    ),
    Operation(
        name="update_certificate",
        method="PUT",
        path=_ONE,
        summary="Change a certificate; names, issuer and targets take effect with the next renewal",
        who=OPERATORS,
        run=update,
        body=UpdateCertificate,
        answer=ManagedCertificate,
        errors=(Duplicate, Conflict, StaleWrite, Refused),
    ),
    Operation(
        name="archive_certificate",
        method="DELETE",
        path=_ONE,
        summary="Take a certificate out of management; what was issued stays on record",
        who=OPERATORS,
        run=archive,
        status=204,
        errors=(IllegalTransition,),
    ),
    Operation(
        name="list_certificate_versions",
        method="GET",
        path=f"{_ONE}/versions",
        summary="List what was issued for a certificate, newest first",
        who=PEOPLE,
        run=versions,
        query=Paging,
        answer=PagedResponse[CertificateVersion],
    ),
    Operation(
        name="list_certificate_deployments",
        method="GET",
        path=f"{_ONE}/deployments",
        summary="List a certificate's targets and what is installed and served there",
        who=PEOPLE,
        run=deployments,
        answer=CertificateDeployments,
    ),
    Operation(
        name="trigger_renewal",
        method="POST",
        path=f"{_ONE}/renew",
        summary="Issue or renew a certificate now",
        who=OPERATORS,
        run=renew,
        query=RenewQuery,
        body=Renew,
        answer=RenewalTriggered,
        status=202,
        errors=(Conflict,),
    ),
    Operation(
        name="trigger_deployment",
        method="POST",
        path=f"{_ONE}/deploy",
        summary="Deploy the newest version again, to one target or to all",
        who=OPERATORS,
        run=deploy,
        body=Deploy,
        answer=DeploymentTriggered,
        status=202,
        errors=(Conflict, Invalid),
    ),
    Operation(
        name="revoke_certificate",
        method="POST",
        path=f"{_ONE}/revoke",
        summary="Revoke every version of a certificate that has not expired",
        who=OPERATORS,
        run=revoke,
        body=Revoke,
        answer=StatusResponse,
        errors=(IllegalTransition,),
    ),
    Operation(
        name="release_certificate",
        method="POST",
        path=f"{_ONE}/release",
        summary="Take a certificate off hold that was revoked as certificateHold",
        who=OPERATORS,
        run=release,
        answer=StatusResponse,
        errors=(Conflict,),
    ),
)
