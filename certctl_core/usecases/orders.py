"""Orders: what is going to be asked of a CA, judged before it is asked and written down first.

An order is made of a certificate, a CSR and a proof that somebody may have it signed. Making one decides and writes
nothing; `write` puts any number of them on record in a constant number of statements.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import Refused
from certctl_core.ids import AgentId, AttemptId, mint
from certctl_core.lifecycle import job as job_life
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer
from certctl_core.models.certificates import IssuanceAttempt, ManagedCertificate
from certctl_core.models.enrolment import Enrolment
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.pki import csr as csr_reading
from certctl_core.pki import distribution, serials
from certctl_core.pki.distribution import Place
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import crls as crl_policy
from certctl_core.policy import profile as profile_policy
from certctl_core.policy.enrolling import names_of
from certctl_core.ports import Ports
from certctl_core.ports.store import Work


@frozen
class OrderedByJob:
    """Proof of authorisation: this agent was asked for exactly this CSR by an open job of this certificate."""

    job: Job
    agent_id: AgentId

    @property
    def holder(self) -> AgentId | None:
        """Who will have the certificate's private key, if it is an agent."""
        return self.agent_id


@frozen
class OrderedByEnrolment:
    """Proof of authorisation: a device that its protocol has authenticated sent this enrolment, which this job is for.
    The device has the key."""

    job: Job
    enrolment: Enrolment

    @property
    def holder(self) -> AgentId | None:
        return None


Proof = OrderedByJob | OrderedByEnrolment


@frozen
class Order:
    """Everything needed to call the CA. `certificate` and `job` are as whoever carries out the order holds them."""

    certificate: ManagedCertificate
    job: Job
    attempt: IssuanceAttempt
    issuer: ConfiguredIssuer
    profile: CertificateProfile | None
    plan: LeafPlan


@frozen
class Rules:
    """Issuers and profiles of a batch of certificates, read in one statement for each."""

    issuers: Mapping[str, ConfiguredIssuer]
    profiles: Mapping[str, CertificateProfile]

    @classmethod
    def read(cls, work: Work, certificates: Iterable[ManagedCertificate], *also: str) -> "Rules":
        """Those of the certificates; `also` are the ids of further issuers."""
        certificates = tuple(certificates)
        return cls(
            work.issuers.many({*(certificate.issuer_id for certificate in certificates), *also}),
            work.profiles.many({each.profile_id for each in certificates if each.profile_id is not None}),
        )

    def issuer(self, identity: str) -> ConfiguredIssuer:
        """Raises `Refused` when it is disabled."""
        issuer = self.issuers[identity]
        if not issuer.enabled:
            raise Refused(
                f"issuer {issuer.id} is disabled", hint="Enable it, or point the certificate at another issuer."
            )
        return issuer

    def profile(self, certificate: ManagedCertificate) -> CertificateProfile | None:
        """Raises `Refused` when it is disabled."""
        if certificate.profile_id is None:
            return None
        profile = self.profiles[certificate.profile_id]
        if not profile.enabled:
            raise Refused(
                f"profile {profile.id} is disabled", hint="Enable it, or point the certificate at another one."
            )
        return profile


def begin(
    ports: Ports,
    rules: Rules,
    certificate: ManagedCertificate,
    csr: x509.CertificateSigningRequest,
    proof: Proof,
    now: datetime,
) -> Order:
    """A new attempt, judged, and its job claimed for it. Raises `Refused`. The caller holds certificate and job."""
    issuer = rules.issuer(certificate.issuer_id)
    profile = rules.profile(certificate)
    not_before, not_after = profile_policy.validity(profile, profile_policy.default_life(issuer), now)
    serial_number = serials.new_serial()
    attempt = IssuanceAttempt(
        id=AttemptId(mint("attempt", now)),
        certificate_id=certificate.id,
        generation=certificate.generation + 1,
        job_id=proof.job.id,
        agent_id=proof.holder,
        issuer_id=issuer.id,
        csr=csr,
        serial_number=serial_number,
        not_before=not_before,
        not_after=not_after,
        crl_partition=crl_policy.partition_of(serial_number, issuer.crl_partitions),
        created_at=now,
    )
    held = proof.job if proof.job.status is JobStatus.RUNNING else job_life.claim(proof.job, now, ports.lease)
    counted = evolve(certificate, generation=attempt.generation)
    return again(ports, rules, counted, evolve(held, attempt_id=attempt.id), attempt)


def again(ports: Ports, rules: Rules, certificate: ManagedCertificate, job: Job, attempt: IssuanceAttempt) -> Order:
    """The order of an attempt, judged by what its certificate, its profile and its issuer are now. Raises `Refused`."""
    issuer = rules.issuer(attempt.issuer_id)
    profile = rules.profile(certificate)
    if attempt.agent_id is None:
        ekus = profile_policy.ekus(profile)
        csr_reading.check_enrols(attempt.csr, certificate.common_name, certificate.sans, ekus)
    else:
        csr_reading.check_matches(attempt.csr, certificate.common_name, certificate.sans)
    plan = _plan(ports, attempt, certificate, profile)
    profile_policy.enforce(profile, plan)
    return Order(certificate, job, attempt, issuer, profile, plan)


def write(work: Work, begun: Sequence[Order]) -> list[Order]:
    """Put the orders of new attempts on record, before any CA is called."""
    work.attempts.add_many([order.attempt for order in begun])
    certificates = work.certificates.save_many([order.certificate for order in begun])
    jobs = work.jobs.save_many([order.job for order in begun])
    return [
        evolve(order, certificate=certificate, job=job)
        for order, certificate, job in zip(begun, certificates, jobs, strict=True)
    ]


def open_new(work: Work, begun: Sequence[Order]) -> list[Order]:
    """As `write`, for certificates and jobs that are not on record yet."""
    work.certificates.add_many([order.certificate for order in begun])
    work.jobs.add_many([evolve(order.job, attempt_id=None) for order in begun])
    work.attempts.add_many([order.attempt for order in begun])
    jobs = work.jobs.save_many([order.job for order in begun])
    return [evolve(order, job=job) for order, job in zip(begun, jobs, strict=True)]


def _plan(
    ports: Ports,
    attempt: IssuanceAttempt,
    certificate: ManagedCertificate,
    profile: CertificateProfile | None,
) -> LeafPlan:
    """Everything the certificate will say. The same attempt always gives the same plan.

    What is short-lived is on no CRL. It says that nobody tells of its revocation (RFC 9608), and so has no OCSP address
    either, unless it must be stapled."""
    here = f"{ports.public_url}/.well-known/pki" if ports.public_url else ""
    is_short_lived = profile_policy.is_short_lived(profile)
    must_staple = bool(profile and profile.must_staple)
    says_nothing = is_short_lived and not must_staple
    crl_url = distribution.url(ports.public_url, attempt.issuer_id, Place(partition=attempt.crl_partition))
    return LeafPlan(
        common_name=certificate.common_name,
        sans=names_of(certificate),
        public_key=attempt.csr.public_key(),
        serial_number=attempt.serial_number,
        not_before=attempt.not_before,
        not_after=attempt.not_after,
        ekus=profile_policy.ekus(profile),
        must_staple=must_staple,
        crl_urls=(crl_url,) if here and not is_short_lived else (),
        ocsp_urls=(f"{here}/ocsp/{attempt.issuer_id}",) if here and not says_nothing else (),
        ca_issuers_urls=(f"{here}/ca/{attempt.issuer_id}",) if here else (),
        is_short_lived=says_nothing,
    )
