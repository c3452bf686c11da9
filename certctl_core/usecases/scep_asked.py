"""A SCEP message that passed all gates, and the answers that are made to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen
from cryptography import x509

from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import names, scep
from certctl_core.pki.cms import Cipher
from certctl_core.pki.scep import FailInfo
from certctl_core.ports import Ports
from certctl_core.usecases.enrolment import Client, Enrolled
from certctl_core.usecases.scep_doors import Door, Standing

MAX_CLIENT: Final = 200


@frozen
class Answered:
    """A message for the client. `outcome` is the word of the counters, `why` what the operator should know of it."""

    message: bytes
    outcome: str
    request: scep.Request
    why: str = ""


@frozen
class Asked:
    """A message that passed all gates, at its door."""

    ports: Ports
    door: Door
    standing: Standing
    request: scep.Request
    signer: x509.Certificate
    content: scep.Content
    cipher: Cipher
    digest: bytes
    request_id: str

    @property
    def now(self) -> datetime:
        return self.ports.clock.now()

    def granted(self, certificates: Sequence[x509.Certificate] = (), crls: Sequence[bytes] = ()) -> bytes:
        return scep.granted(self.request, self.standing.signer, self.cipher, certificates=certificates, crls=crls)


def failed(standing: Standing, request: scep.Request, info: FailInfo, text: str, why: str = "") -> Answered:
    return Answered(scep.failed(request, standing.signer, info, text), info.name.lower(), request, why or text)


def holder(asked: Asked) -> Client:
    """The holder of a certificate of ours, by its subject."""
    name = names.common_name_of(asked.signer.subject) or asked.signer.subject.rfc4514_string()
    return Client(
        protocol=EnrolmentProtocol.SCEP, name=name[:MAX_CLIENT], method="certificate", request_id=asked.request_id
    )


def became(asked: Asked, enrolled: Enrolled) -> Answered:
    if enrolled.version is None:
        message = scep.pending(asked.request, asked.standing.signer)
        return Answered(message, "pending", asked.request)
    return Answered(asked.granted([enrolled.version.certificate]), "issued", asked.request)
