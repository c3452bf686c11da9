"""Doing one item of work: a CSR, or a deployment. Both can be done again at any point, and are after a crash.

csr:1          the key for the job is on disk
csr:2          the control plane has the CSR
deployment:1   the control plane knows that we have begun
deployment:2   the certificate is here and its key was found
deployment:3   the key is the one in use
deployment:4   the target has taken the certificate
deployment:5   what is served has been reported
"""

import ipaddress
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from attrs import field, frozen
from cryptography import x509

from certctl_agent.client import AWAITING_CSR, DEPLOYMENT, ControlPlane, PickedUp, Verification, WorkItem
from certctl_agent.keystore import HeldKey, KeyStore
from certctl_core.errors import CertctlError, Conflict, Gone, Invalid, NotFound, TooLarge, TooMany, UpstreamUnavailable
from certctl_core.pki import csr, names, reading
from certctl_core.ports.target import Delivery, Endpoint, Reloads, Target
from certctl_core.ports.world import Nowhere, Prober, Tripwire

log = logging.getLogger(__name__)

PROBE_TIMEOUT: Final = timedelta(seconds=10)
_FIRST_PAUSE: Final = timedelta(milliseconds=100)
_LONGEST_PAUSE: Final = timedelta(seconds=2)
_REPORT_PAUSES: Final = (timedelta(seconds=1), timedelta(seconds=3))
_NOT_NOW: Final = (UpstreamUnavailable, TooMany)
DEFAULT_PORT: Final = 443
MOST_CSRS: Final = 100
"""In one request."""

Pause = Callable[[timedelta], bool]
Connect = Callable[[str, Mapping[str, Any]], Target]


class JobFailed(Exception):
    """A job cannot be done. The text goes to the control plane as it is."""


@frozen(kw_only=True)
class Worker:
    """Does items of work one after the other.

    `connect` makes a target of its type and settings. `pause` waits and returns True when the agent is to stop; waits
    are then cut short. `verify_timeout` is how long the new certificate may take to be served.
    """

    control: ControlPlane
    keys: KeyStore
    connect: Connect
    prober: Prober
    pause: Pause
    verify_timeout: timedelta
    tripwire: Tripwire = field(factory=Nowhere)

    def do(self, item: WorkItem) -> bool:
        """Whether the item is done. A failure has been reported when it is not. Raises `Gone` for a retired agent."""
        if item.status == AWAITING_CSR:
            return self._do(item, lambda: self._request(item))
        if item.type == DEPLOYMENT:
            return self._do(item, lambda: self._deploy(item))
        log.debug("not for an agent: %s", item.type, extra=_facts(item))
        return False

    def _do(self, item: WorkItem, act: Callable[[], None], said: str = "job done") -> bool:
        facts = _facts(item)
        try:
            act()
        except JobFailed as failure:
            log.warning("job failed: %s", failure, extra=facts)
            self._report(item.id, "Failed", str(failure))
            return False
        except Gone:
            raise
        except CertctlError as problem:
            # Nothing was begun: either the job is not ours any more, or it is offered again.
            log.warning("job put off: %s", problem, extra=facts)
            return False
        except Exception as mistake:  # one job's accident must not end the agent, which has others
            log.exception("job failed unexpectedly", extra=facts)
            self._report(item.id, "Failed", f"internal error: {type(mistake).__name__}")
            return False
        log.info(said, extra=facts)
        return True

    # The CSR flow

    def request_all(self, items: Sequence[WorkItem]) -> bool:
        """Answer many AwaitingCSR items in few requests, or one by one where the control plane does not take them
        together. Whether any of them is done. Raises `Gone` for a retired agent."""
        done = False
        for start in range(0, len(items), MOST_CSRS):
            batch = items[start : start + MOST_CSRS]
            made = {item.id: request for item in batch if (request := self._made(item)) is not None}
            asked = [(item, made[item.id]) for item in batch if item.id in made]
            if not asked:
                continue
            try:
                outcomes = self.control.submit_csrs(asked)
            except (NotFound, Invalid, TooLarge):
                return sum(self.do(item) for item in items[start:]) > 0 or done
            except Gone:
                raise
            except CertctlError as problem:
                log.warning("%d CSRs put off: %s", len(asked), problem)
                return done
            self.tripwire("csr:2")
            for (item, _), outcome in zip(asked, outcomes, strict=True):
                done |= self._do(item, partial(_take, outcome))
        return done

    def _made(self, item: WorkItem) -> x509.CertificateSigningRequest | None:
        """The CSR of an item; None when it could not be made, which has been reported."""
        made: list[x509.CertificateSigningRequest] = []
        self._do(item, lambda: made.append(self._build(item)), said="CSR made")
        return made[0] if made else None

    def _request(self, item: WorkItem) -> None:
        request = self._build(item)
        try:
            self.control.submit_csr(item, request)
        except CertctlError as problem:
            _take(problem)
        self.tripwire("csr:2")

    def _build(self, item: WorkItem) -> x509.CertificateSigningRequest:
        if not item.common_name:
            raise JobFailed("empty common name")
        with _failing("key storage failed"):
            private_key = self.keys.for_job(item.certificate_id, item.id)
        self.tripwire("csr:1")
        with _failing("CSR creation failed"):
            # The same key and names give the same bytes: sending them twice is asking once.
            return csr.build(private_key, item.common_name, item.sans)

    # The deployment flow

    def _deploy(self, item: WorkItem) -> None:
        # An agent that cannot say that it has begun may have lost the job to a later hand-out.
        self.control.report(item.id, "Running")
        self.tripwire("deployment:1")
        with _failing("cert fetch failed"):
            picked = self.control.certificate(item.certificate_id)
        with _failing("key read failed"):
            held = self.keys.of(item.certificate_id, picked.certificate)
        self.tripwire("deployment:2")
        with _failing("key storage failed"):
            self.keys.promote(item.certificate_id, held)
        self.tripwire("deployment:3")
        if item.target_type:
            self._install(item, picked, held)
        self._report(item.id, "Completed")

    def _install(self, item: WorkItem, picked: PickedUp, held: HeldKey) -> None:
        with _failing("connector init failed"):
            target = self.connect(item.target_type, item.target_config)
        with _failing("deployment failed"):
            target.deploy(Delivery(item.certificate_id, picked.certificate, picked.chain, held.private_key))
        self.tripwire("deployment:4")
        endpoint = endpoint_of(item.target_config, picked.certificate)
        if endpoint is not None and item.target_id:
            self._verify(item, target, endpoint, picked.certificate)
        self.tripwire("deployment:5")

    def _verify(self, item: WorkItem, target: Target, endpoint: Endpoint, expected: x509.Certificate) -> None:
        fingerprint = reading.fingerprint(expected)
        seen, error = self._look(endpoint, fingerprint)
        if seen not in ("", fingerprint) and isinstance(target, Reloads):
            # Something else is served although the files are right: they may have been right before, and not loaded.
            with _failing("deployment failed"):
                target.reload()
            seen, error = self._look(endpoint, fingerprint)
        verification = Verification(
            target_id=item.target_id,
            expected_fingerprint=fingerprint,
            actual_fingerprint=seen,
            verified=seen == fingerprint,
            error=error,
        )
        log.info(
            "served as issued" if verification.verified else f"not served as issued: {error}",
            extra={"job_id": item.id, "endpoint": f"{endpoint.host}:{endpoint.port}", "fingerprint": seen},
        )
        try:
            self.control.verified(item.id, verification)
        except CertctlError as problem:
            log.warning("verification not reported: %s", problem, extra={"job_id": item.id})

    def _look(self, endpoint: Endpoint, fingerprint: str) -> tuple[str, str]:
        """What is served once it is what it should be, or in the end, and what is wrong with it."""
        until = time.monotonic() + self.verify_timeout.total_seconds()
        pause = _FIRST_PAUSE
        while True:
            seen, error = self._probe(endpoint, fingerprint)
            left = timedelta(seconds=until - time.monotonic())
            if not error or left <= timedelta(0) or self.pause(min(pause, left)):
                return seen, error
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _probe(self, endpoint: Endpoint, fingerprint: str) -> tuple[str, str]:
        try:
            seen = self.prober.probe(
                endpoint.host, endpoint.port, server_name=endpoint.server_name, timeout=PROBE_TIMEOUT
            )
        except UpstreamUnavailable as problem:
            return "", problem.message
        if seen.fingerprint == fingerprint:
            return seen.fingerprint, ""
        subject = seen.certificate.subject.rfc4514_string()
        return seen.fingerprint, f"{endpoint.host}:{endpoint.port} serves another certificate ({subject})"

    # Reports

    def _report(self, job_id: str, status: str, error: str = "") -> None:
        """Tell, and tell again when nobody answers: a lost report costs a lease. Then the job is done again."""
        for pause in (*_REPORT_PAUSES, None):
            try:
                self.control.report(job_id, status, error)
            except _NOT_NOW as problem:
                if pause is not None and not self.pause(pause):
                    continue
                log.warning("%s not reported: %s", status, problem, extra={"job_id": job_id})
            except Gone:
                raise
            except CertctlError as problem:
                log.warning("%s not accepted: %s", status, problem, extra={"job_id": job_id})
            return


def _facts(item: WorkItem) -> dict[str, str]:
    return {"job_id": item.id, "certificate_id": item.certificate_id, "target_id": item.target_id}


def _take(outcome: CertctlError | None) -> None:
    """Raises what was said against a CSR, as a failed job when that was an answer to the CSR: a job whose CSR got none
    asks again until it has one."""
    if isinstance(outcome, (*_NOT_NOW, Conflict, Gone)):
        raise outcome
    if outcome is not None:
        raise JobFailed(f"CSR rejected: {outcome.message}") from outcome


@contextmanager
def _failing(words: str) -> Iterator[None]:
    """Turn what goes wrong inside into a failed job whose error begins with these words."""
    try:
        yield
    except Gone:
        raise
    except CertctlError as problem:
        text = ". ".join(filter(None, [problem.message, problem.hint]))
        raise JobFailed(f"{words}: {text}") from problem
    except OSError as problem:
        raise JobFailed(f"{words}: {problem.strerror or problem}") from problem


def endpoint_of(config: Mapping[str, Any], certificate: x509.Certificate) -> Endpoint | None:
    """Where the target's settings say that the certificate is served; None when they do not.

    `verify_host` and `verify_port` say it outright; `host`, `hostname`, `target` and `address` with `port` are what the
    established agent looks at.
    """
    host = next((config[key] for key in _HOST_KEYS if isinstance(config.get(key), str) and config[key]), "")
    if not host:
        return None
    wanted = (config.get(key) for key in ("verify_port", "port"))
    port = next((int(one) for one in wanted if isinstance(one, int | float) and 1 <= one <= 65535), DEFAULT_PORT)
    server_name = config.get("verify_server_name")
    if not isinstance(server_name, str) or not server_name:
        server_name = _name_in(certificate) if _is_address(host) else host
    return Endpoint(host, port, server_name)


_HOST_KEYS: Final = ("verify_host", "host", "hostname", "target", "address")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_in(certificate: x509.Certificate) -> str | None:
    """A DNS name to ask an address for: a server with several certificates chooses by it (RFC 6066 section 3)."""
    for name in reading.general_names(certificate):
        if isinstance(name, x509.DNSName):
            return names.text_of(name).replace("*", "certctl", 1)
    return None
