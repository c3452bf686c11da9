"""What devices show to enrol."""

from typing import Final

from certctl_core.ports.store import Where
from certctl_core.usecases import enrolment_secrets
from certctl_web.access import OPERATORS
from certctl_web.media.enrolment import (
    CreatedEnrolmentSecret,
    CreateEnrolmentSecret,
    EnrolmentSecret,
    EnrolmentSecretFilter,
)
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/enrolment-secrets"


def page(call: Call[EnrolmentSecretFilter], _: None) -> PagedResponse[EnrolmentSecret]:
    given = (("protocol", call.query.protocol), ("label", call.query.label))
    asked = call.query.ask(*(Where(name, value) for name, value in given if value is not None))
    return paged(call.query, enrolment_secrets.page(call.ports, call.caller, asked), EnrolmentSecret.of)


def create(call: Call[None], asked: CreateEnrolmentSecret) -> CreatedEnrolmentSecret:
    return CreatedEnrolmentSecret.of_new(enrolment_secrets.create(call.ports, call.caller, asked.wish()))


def remove(call: Call[None], _: None) -> None:
    enrolment_secrets.remove(call.ports, call.caller, call.path["id"])


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_enrolment_secrets",
        method="GET",
        path=_PATH,
        summary="List the secrets that devices enrol with, never the secrets themselves",
        who=OPERATORS,
        run=page,
        query=EnrolmentSecretFilter,
        answer=PagedResponse[EnrolmentSecret],
    ),
    Operation(
        name="create_enrolment_secret",
        tool="",
        method="POST",
        path=_PATH,
        summary="Make a secret for a device to enrol with; it is shown once",
        who=OPERATORS,
        run=create,
        body=CreateEnrolmentSecret,
        answer=CreatedEnrolmentSecret,
        status=201,
    ),
    Operation(
        name="delete_enrolment_secret",
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        summary="Take a secret back; what was enrolled with it stays",
        who=OPERATORS,
        run=remove,
        status=204,
    ),
)
