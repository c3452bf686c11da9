"""A CA in memory that takes orders and answers them when it is asked again, as commercial CAs do."""

from collections.abc import Sequence
from datetime import datetime

from attrs import define, field
from cryptography import x509

from certctl_core.errors import CertctlError, UpstreamRejected
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ca
from certctl_core.pki.ca import Authority
from certctl_core.ports.issuer import Issued, Issuer, IssueRequest, Ordered, Polls, Revokes, ShowsChain


@define
class PatientCa(Issuer, Polls, Revokes, ShowsChain):
    """Answers an order at the second time of asking. `revoked` is what it has been told."""

    authority: Authority
    orders: dict[str, IssueRequest] = field(factory=dict)
    answers: dict[str, Issued] = field(factory=dict)
    revoked: dict[int, RevocationReason] = field(factory=dict)

    def issue(self, request: IssueRequest) -> Ordered:
        order_id = f"order-{request.idempotency_key}"
        self.orders.setdefault(order_id, request)
        return Ordered(order_id)

    def poll(self, order_id: str) -> Issued | Ordered:
        if order_id in self.answers:
            return self.answers[order_id]
        try:
            request = self.orders[order_id]
            self.answers[order_id] = Issued(ca.sign_leaf(self.authority, request.plan), self.authority.chain)
        except KeyError:
            raise UpstreamRejected(f"there is no order {order_id}") from None
        except CertctlError as problem:
            raise UpstreamRejected(problem.message) from problem
        return Ordered(order_id)

    def revoke(self, certificate: x509.Certificate, reason: RevocationReason, at: datetime) -> None:
        assert at.tzinfo is not None
        self.revoked.setdefault(certificate.serial_number, reason)

    def chain(self) -> Sequence[x509.Certificate]:
        return self.authority.chain
