"""CAs of an issuer: a tree of them, and generations of one that follow one another."""

from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import (
    Conflict,
    Duplicate,
    IllegalTransition,
    NotConfigured,
    Refused,
    StaleWrite,
    UpstreamRejected,
)
from certctl_core.models.authorities import AuthorityState
from certctl_core.usecases import hierarchy
from certctl_web.access import ADMINS
from certctl_web.media.hierarchy import (
    CreateIntermediateCa,
    InstallCertificate,
    IntermediateCa,
    IntermediateCas,
    RetiredIntermediateCa,
    RetireIntermediateCa,
    RevokeIntermediateCa,
)
from certctl_web.operation import Answer, Call, Operation, Row

_OF_ISSUER: Final = "/api/v1/issuers/{id}/intermediates"
_ONE: Final = "/api/v1/intermediates/{id}"


def of_issuer(call: Call[None], _: None) -> IntermediateCas:
    found = hierarchy.list_of(call.ports, call.caller, call.path["id"])
    return IntermediateCas(data=tuple(IntermediateCa.of(one) for one in found))


def create(call: Call[None], asked: CreateIntermediateCa) -> IntermediateCa:
    return IntermediateCa.of(hierarchy.create(call.ports, call.caller, call.path["id"], asked.wish()))


def get(call: Call[None], _: None) -> IntermediateCa:
    return IntermediateCa.of(hierarchy.get(call.ports, call.caller, call.path["id"]))


def csr(call: Call[None], _: None) -> Answer[bytes]:
    found = hierarchy.csr(call.ports, call.caller, call.path["id"])
    return Answer(raw=found.public_bytes(Encoding.PEM))


def install(call: Call[None], asked: InstallCertificate) -> IntermediateCa:
    return IntermediateCa.of(hierarchy.install(call.ports, call.caller, call.path["id"], asked.certificates()))


def activate(call: Call[None], _: None) -> IntermediateCa:
    return IntermediateCa.of(hierarchy.activate(call.ports, call.caller, call.path["id"]))


def revoke(call: Call[None], asked: RevokeIntermediateCa) -> IntermediateCa:
    return IntermediateCa.of(hierarchy.revoke(call.ports, call.caller, call.path["id"], asked.reason, asked.note))


def retire(call: Call[None], asked: RetireIntermediateCa) -> RetiredIntermediateCa:
    done = hierarchy.retire(call.ports, call.caller, call.path["id"], asked.note, confirm=asked.confirm)
    return RetiredIntermediateCa(
        id=done.authority.id,
        decided_by=call.caller.name,
        confirmed=done.authority.state is AuthorityState.RETIRED,
        drains_at=done.drains_at,
    )


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_intermediate_cas",
        arguments={"id": "issuer_id"},
        method="GET",
        path=_OF_ISSUER,
        summary="List the CAs of an issuer, roots included, oldest first",
        who=ADMINS,
        run=of_issuer,
        answer=IntermediateCas,
        errors=(NotConfigured, UpstreamRejected),
    ),
    Operation(
        name="create_intermediate_ca",
        arguments={"id": "issuer_id"},
        method="POST",
        path=_OF_ISSUER,
        summary="Make a CA of an issuer: below another one, external, or a root",
        who=ADMINS,
        run=create,
        body=CreateIntermediateCa,
        answer=IntermediateCa,
        status=201,
        errors=(Conflict, Duplicate, StaleWrite, Refused, NotConfigured, UpstreamRejected),
    ),
    Operation(
        name="get_intermediate_ca",
        method="GET",
        path=_ONE,
        summary="Show one CA of an issuer",
        who=ADMINS,
        run=get,
        answer=IntermediateCa,
    ),
    Operation(
        name="get_intermediate_ca_csr",
        tool="",
        method="GET",
        path=f"{_ONE}/csr",
        summary="Fetch the CSR that the CA above is given, PEM",
        who=ADMINS,
        run=csr,
        errors=(Conflict, NotConfigured, UpstreamRejected),
        media_type="application/x-pem-file",
    ),
    Operation(
        name="install_intermediate_ca_certificate",
        method="POST",
        path=f"{_ONE}/certificate",
        summary="Give a CA the certificate that a foreign CA has signed, with those above it",
        who=ADMINS,
        run=install,
        body=InstallCertificate,
        answer=IntermediateCa,
        errors=(IllegalTransition, StaleWrite, NotConfigured, UpstreamRejected),
    ),
    Operation(
        name="activate_intermediate_ca",
        method="POST",
        path=f"{_ONE}/activate",
        summary="Have new certificates of the issuer signed by this CA from now on",
        who=ADMINS,
        run=activate,
        answer=IntermediateCa,
        errors=(Conflict, IllegalTransition, StaleWrite, NotConfigured, UpstreamRejected),
    ),
    Operation(
        name="retire_intermediate_ca",
        method="POST",
        path=f"{_ONE}/retire",
        summary="Have a CA sign no more certificates, and when confirmed nothing at all",
        who=ADMINS,
        run=retire,
        body=RetireIntermediateCa,
        answer=RetiredIntermediateCa,
        errors=(Conflict, IllegalTransition, StaleWrite),
    ),
    Operation(
        name="revoke_intermediate_ca",
        method="POST",
        path=f"{_ONE}/revoke",
        summary="Revoke the certificate of a CA: it comes on the CRL of the CA above it",
        who=ADMINS,
        run=revoke,
        body=RevokeIntermediateCa,
        answer=IntermediateCa,
        errors=(Conflict, IllegalTransition, StaleWrite),
    ),
)
