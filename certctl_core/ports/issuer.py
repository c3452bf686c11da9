"""What certctl asks of a certification authority.

An issuer has one duty, to issue. Whatever else it can do is a separate ability that use cases ask for with
`isinstance`, so that nothing ever has to answer "not supported". Every method may block on the network, raises
`UpstreamUnavailable` (try later) or `UpstreamRejected` (final) with the upstream's words, and is never called while a
transaction is open.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from attrs import frozen
from cryptography import x509

from certctl_core.ids import IssuerId
from certctl_core.models.authorities import AuthorityState
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import reading
from certctl_core.pki.plan import CaPlan, CrlPlan, DelegatePlan, LeafPlan


@frozen
class IssueRequest:
    """One order. `idempotency_key` and `ordered_at` are the same whenever the same attempt is made again."""

    idempotency_key: str
    csr: x509.CertificateSigningRequest
    plan: LeafPlan
    ordered_at: datetime | None = None


@frozen
class Issued:
    """The CA's answer: the leaf and the certificates above it, nearest first."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


@frozen
class Ordered:
    """The CA took the order and will answer later. `order_id` is its name for it."""

    order_id: str
    look_again_at: datetime | None = None


class Issuer(Protocol):
    """Idempotent by `idempotency_key` as far as the CA allows; the Local CA gives the same serial number again."""

    @abstractmethod
    def issue(self, request: IssueRequest) -> Issued | Ordered: ...


@runtime_checkable
class Polls(Protocol):
    """Answers for an order it took earlier. Idempotent."""

    @abstractmethod
    def poll(self, order_id: str) -> Issued | Ordered: ...


@runtime_checkable
class Revokes(Protocol):
    """Tells the CA that a certificate is revoked. Idempotent: revoking twice is revoking."""

    @abstractmethod
    def revoke(self, certificate: x509.Certificate, reason: RevocationReason, at: datetime) -> None: ...


@runtime_checkable
class ShowsChain(Protocol):
    """Shows the certificates its leafs are verified with, nearest first, the root last."""

    @abstractmethod
    def chain(self) -> Sequence[x509.Certificate]: ...


@frozen
class AuthorityFacts:
    """One CA of an issuer. `chain` begins with the CA's own certificate, nearest first, the root last.

    In a rollover an issuer has several: one signs new leafs, and those before it go on to sign their own CRLs and OCSP
    answers until the last of their certificates has ended.
    """

    id: str
    chain: tuple[x509.Certificate, ...]
    state: AuthorityState = AuthorityState.ACTIVE
    is_plain: bool = True
    """Whether what it publishes is at the issuer's own address; that of others is below it, by their key identifier."""
    is_next: bool = False
    """Whether it is there to sign new leafs some day, and has not begun to."""
    links: tuple[x509.Certificate, ...] = ()
    """For a root: itself certified by the one before it, and that one certified by it (RFC 4210 section 4.4)."""

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def key_identifier(self) -> bytes:
        """What the authorityKeyIdentifier of its certificates says, by which a leaf's CA is found."""
        return reading.key_identifier_of(self.certificate)


@runtime_checkable
class HasAuthorities(Protocol):
    """Has CAs of its own, told apart by their key identifiers."""

    @abstractmethod
    def authorities(self) -> Sequence[AuthorityFacts]:
        """Those that sign anything at all: first the one that signs new leafs, then the others, newest first."""


@runtime_checkable
class SignsCrls(Protocol):
    """Signs CRLs from our own revocation records (RFC 5280 section 5)."""

    @abstractmethod
    def sign_crl(self, plan: CrlPlan, authority: bytes | None = None) -> bytes:
        """A CRL in DER, signed by the CA with this key identifier; without one, by that which signs new leafs. Raises
        `NotFound` when the issuer has no such CA."""


@runtime_checkable
class CertifiesDelegates(HasAuthorities, Protocol):
    """Certifies services of the control plane: OCSP responders, and the registration authorities of SCEP. For such an
    issuer we answer OCSP, from our own records."""

    @abstractmethod
    def certify_delegate(self, plan: DelegatePlan, authority: bytes | None = None) -> x509.Certificate:
        """Sign the plan with the CA of this key identifier; without one, with that which signs new leafs. The delegate
        ends with its CA at the latest. Raises `NotFound` when the issuer has no such CA, `Invalid` when the CA has
        ended."""


@runtime_checkable
class CertifiesCas(HasAuthorities, Protocol):
    """Signs certificates of CAs below its own."""

    @abstractmethod
    def certify_ca(self, plan: CaPlan, authority: bytes | None = None) -> tuple[x509.Certificate, ...]:
        """The certificate and those above it, signed by the CA with this key identifier; without one, by that which
        signs new leafs. Raises `Invalid` and `Refused` as `certctl_core.pki.ca.sign_ca`, and `NotFound` when the issuer
        has no such CA."""


@runtime_checkable
class SignsMessages(Protocol):
    """Signs messages (RFC 5652) with the key of its CA, for those who trust that CA and nothing else yet."""

    @abstractmethod
    def sign_message(self, content: bytes) -> bytes:
        """A SignedData in DER, by the CA that signs new leafs. Raises `Invalid` when its key is of a kind that messages
        are not signed with."""


class Issuers(Protocol):
    """The registry: a configured issuer in, something that issues out. May read the store; never inside a `work`."""

    @abstractmethod
    def connect(self, configured: ConfiguredIssuer) -> Issuer:
        """Raises `Invalid` when the settings do not make an issuer, `NotConfigured` for a type not installed here."""

    def at_hand(self, configured: ConfiguredIssuer) -> Issuer | None:  # noqa: ARG002 - for registries that have some
        """The issuer, if it is a CA of this process that is opened already and whose answer is a function of what it is
        asked: neither connecting it nor asking it waits for anything, so both may be done inside a `work`. None for
        every other one, and whenever that cannot be told at once."""
        return None

    @abstractmethod
    def check(self, issuer_id: IssuerId, type_name: str, config: dict[str, object]) -> tuple[str, dict[str, object]]:
        """Validate a type (any accepted spelling) and its settings. Returns the canonical type and the settings with
        defaults filled in. Raises `Invalid` naming the fields."""

    def keeps_authorities(self, type_name: str) -> bool:  # noqa: ARG002 - for registries that have such types
        """Whether issuers of this type have CAs of their own in the store."""
        return False

    @abstractmethod
    def secret_keys(self, type_name: str) -> frozenset[str]:
        """Names of the settings that are sealed and never shown."""
