"""What certctl asks of a deployment target."""

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


@frozen
class Delivery:
    """What a target gets. `name` identifies the certificate in the target's own records."""

    name: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private_key: CertificateIssuerPrivateKeyTypes


@frozen
class Endpoint:
    """Where the deployed certificate is served, so that it can be looked at."""

    host: str
    port: int
    server_name: str | None = None


class Target(Protocol):
    """Takes a certificate and its key, all or nothing.

    `deploy` may block on files, processes and the network. It is idempotent. On success the target uses the new
    certificate; otherwise it raises `DeploymentFailed` with the target's own words (or `UpstreamUnavailable`), and
    everything is as it was before.
    """

    @abstractmethod
    def deploy(self, delivery: Delivery) -> None: ...


@runtime_checkable
class Reloads(Protocol):
    """Makes the target take up what is installed already. Idempotent; blocks and raises as `deploy`.

    For a target that was found to serve something else than its files: a deployment that changes nothing may reload
    nothing.
    """

    @abstractmethod
    def reload(self) -> None: ...


class TargetCatalog(Protocol):
    """Which target types this installation knows, for validation in the control plane. Never connects to anything."""

    @abstractmethod
    def check(self, type_name: str, config: dict[str, object]) -> tuple[str, dict[str, object]]:
        """As `Issuers.check`."""

    @abstractmethod
    def secret_keys(self, type_name: str) -> frozenset[str]: ...
