"""The control plane as the agent calls it: one method a call, JSON on the wire and typed values inside.

Every method raises the errors of `certctl_adapters.http`: `UpstreamUnavailable` when there is no answer, and what the
control plane said otherwise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from attrs import asdict, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.http import HttpClient
from certctl_agent.machine import Machine
from certctl_core import __version__
from certctl_core.errors import CertctlError, Conflict, UpstreamRejected, UpstreamUnavailable
from certctl_core.pki import reading

AWAITING_CSR: Final = "AwaitingCSR"
DEPLOYMENT: Final = "Deployment"


@frozen(kw_only=True)
class WorkItem:
    """One thing to do. `status` AwaitingCSR asks for a CSR, whatever the `type`."""

    id: str
    type: str
    certificate_id: str
    status: str
    common_name: str = ""
    sans: tuple[str, ...] = ()
    target_id: str = ""
    target_type: str = ""
    target_config: Mapping[str, Any] = {}


@frozen
class PickedUp:
    """A certificate and the chain above it, nearest first."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]


@frozen(kw_only=True)
class Verification:
    """What is served after a deployment. `actual_fingerprint` is empty when nothing was seen; `error` says why."""

    target_id: str
    expected_fingerprint: str
    actual_fingerprint: str
    verified: bool
    error: str = ""


class ControlPlane:
    """The calls of one agent. Safe to share between threads."""

    def __init__(self, http: HttpClient, agent_id: str) -> None:
        self._http = http
        self._own = f"/api/v1/agents/{quote(agent_id, safe='')}"

    def heartbeat(self, machine: Machine, sent_at: datetime) -> None:
        """Say that the agent is there. Raises `Gone` when it has been retired."""
        sent = {"version": __version__, "sent_at": sent_at.isoformat().replace("+00:00", "Z"), **asdict(machine)}
        self._http.ask("POST", f"{self._own}/heartbeat", body=sent)

    def work(self) -> tuple[WorkItem, ...]:
        """What is to be done now. Raises `Gone` when the agent has been retired."""
        told = self._http.ask("GET", f"{self._own}/work").json()
        try:
            if not told["count"]:
                return ()
            return tuple(_work_item(one) for one in told["jobs"])
        except (KeyError, TypeError, ValueError) as problem:
            raise UpstreamUnavailable(f"the work that was answered cannot be read: {problem!r}") from problem

    def submit_csr(self, item: WorkItem, csr: x509.CertificateSigningRequest) -> None:
        """Answer an AwaitingCSR item. Doing it again with the same CSR is the same."""
        self._http.ask("POST", f"{self._own}/csr", body=_csr(item, csr))

    def submit_csrs(
        self, asked: Sequence[tuple[WorkItem, x509.CertificateSigningRequest]]
    ) -> tuple[CertctlError | None, ...]:
        """Answer several AwaitingCSR items at once: what was said against each, None when it was taken.

        Raises `NotFound` when the control plane is older than this call.
        """
        sent = {"csrs": [_csr(item, csr) for item, csr in asked]}
        told = self._http.ask("POST", f"{self._own}/csrs", body=sent).json()
        try:
            return tuple(_said(told["results"][place]) for place in range(len(asked)))
        except (KeyError, IndexError, TypeError, ValueError) as problem:
            raise UpstreamUnavailable(f"what became of the CSRs cannot be read: {problem!r}") from problem

    def certificate(self, certificate_id: str) -> PickedUp:
        """The newest certificate whose key this agent holds."""
        told = self._http.ask("GET", f"{self._own}/certificates/{quote(certificate_id, safe='')}").json()
        try:
            leaf, *chain = reading.certificates(str(told["certificate_pem"]))
        except (KeyError, TypeError) as problem:
            raise UpstreamUnavailable("the answer holds no certificate_pem") from problem
        return PickedUp(leaf, tuple(chain))

    def report(self, job_id: str, status: str, error: str = "") -> None:
        """Say how a job goes: Running, Completed or Failed."""
        sent = {"status": status} | ({"error": error} if error else {})
        self._http.ask("POST", f"{self._own}/jobs/{quote(job_id, safe='')}/status", body=sent)

    def verified(self, job_id: str, seen: Verification) -> None:
        """Say what is served after a deployment."""
        self._http.ask("POST", f"/api/v1/jobs/{quote(job_id, safe='')}/verify", body=asdict(seen))


def _csr(item: WorkItem, csr: x509.CertificateSigningRequest) -> dict[str, str]:
    pem = csr.public_bytes(Encoding.PEM).decode("ascii")
    return {"csr_pem": pem, "certificate_id": item.certificate_id, "job_id": item.id}


def _said(outcome: Mapping[str, Any]) -> CertctlError | None:
    """What the same CSR, sent by itself, would have raised."""
    code, message = int(outcome["code"]), str(outcome.get("message") or f"status {outcome['code']}")
    if code < 400:
        return None
    if code == 409:
        return Conflict(message)
    return UpstreamUnavailable(message) if code >= 500 or code == 429 else UpstreamRejected(message)


def _work_item(told: Any) -> WorkItem:
    if not isinstance(told, dict):
        raise TypeError("a job is no object")
    config, sans = told.get("target_config"), told.get("sans")
    if not isinstance(config or {}, dict) or not isinstance(sans or [], list):
        raise TypeError("target_config is no object or sans no list")
    return WorkItem(
        id=str(told["id"]),
        type=str(told.get("type", "")),
        certificate_id=str(told["certificate_id"]),
        status=str(told.get("status", "")),
        common_name=str(told.get("common_name") or ""),
        sans=tuple(str(san) for san in sans or ()),
        target_id=str(told.get("target_id") or ""),
        target_type=str(told.get("target_type") or ""),
        target_config=config or {},
    )


# Joining


def join(http: HttpClient, token: str, name: str, machine: Machine) -> tuple[str, str]:
    """Exchange a token for an agent's id and API key. The token is used up."""
    sent = {"token": token, "name": name, "version": __version__, **asdict(machine)}
    told = http.ask("POST", "/api/v1/agents/join", body=sent, idempotent=False).json()
    try:
        return str(told["agent_id"]), str(told["api_key"])
    except (KeyError, TypeError) as problem:
        raise CertctlError("the server's answer holds no agent_id and api_key") from problem
