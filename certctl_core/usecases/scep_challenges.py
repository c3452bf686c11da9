"""Challenges of SCEP: who may enrol a first time (RFC 8894 section 2.4).

A device that has no certificate yet shows a challenge: one that all devices of a door know, one that was made for it
(`enrolment_secrets`), or one that a connector to an MDM service signed (`policy.intune`). What is wrong with a
challenge is told to the operator and not to the device.

Judging a challenge writes nothing. What is good once is used up by `use`, and then for one transaction of one key: a
device that was not answered may repeat its request.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import Invalid, NotAuthenticated, QuotaExceeded, Refused, TooLarge
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import csr as csr_reading
from certctl_core.pki import jws, keys, scep
from certctl_core.policy import intune
from certctl_core.policy.intune import Verdict
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import enrolment_secrets
from certctl_core.usecases.enrolment import Client
from certctl_core.usecases.scep_doors import Door, SignedChallenges

DAY: Final = timedelta(days=1)
REALM: Final = "intune "
_QUOTA: Final = "scep challenge"


@frozen
class Admitted:
    """Who may enrol. `signed` is the challenge of a connector, which is still to be used up."""

    client: Client
    signed: intune.Challenge | None = None


@frozen
class TurnedAway:
    """Why not, for the operator; `verdict` when it was the challenge of a connector."""

    why: str
    verdict: Verdict | None = None


def judge(ports: Ports, door: Door, csr: x509.CertificateSigningRequest, request_id: str = "") -> Admitted | TurnedAway:
    """Whether the challenge in a CSR admits the device that made it. Raises `Unreadable` for one that is no text."""
    presented = scep.challenge_of(csr)
    if not presented:
        return TurnedAway("there is no challenge")
    if door.signed is not None and jws.is_like_one(presented):
        return _judge_signed(door.signed, presented, csr, ports.clock.now(), request_id)
    if door.static is not None and door.static.is_it(presented):
        return Admitted(_client("shared challenge", "challenge", request_id))
    if not door.one_time:
        return TurnedAway("it is not the shared challenge")
    try:
        secret = enrolment_secrets.present(ports, EnrolmentProtocol.SCEP, door.label, presented)
    except NotAuthenticated as error:
        return TurnedAway(error.message)
    return Admitted(evolve(_client(secret.id, "one-time challenge", request_id), secret_id=secret.id))


def _client(name: str, method: str, request_id: str) -> Client:
    return Client(protocol=EnrolmentProtocol.SCEP, name=name, method=method, request_id=request_id)


# Challenges that a connector signed


def _judge_signed(
    accepted: SignedChallenges,
    presented: str,
    csr: x509.CertificateSigningRequest,
    now: datetime,
    request_id: str,
) -> Admitted | TurnedAway:
    trusted = [one for one in accepted.trusted() if one.not_valid_before_utc <= now <= one.not_valid_after_utc]
    try:
        claims = jws.claims(presented, [one.public_key() for one in trusted])
    except (Invalid, TooLarge, Refused) as error:
        return TurnedAway(error.message, Verdict.NOT_SIGNED)
    try:
        challenge = intune.read(claims)
        differences = intune.mismatches(challenge, csr_reading.facts(csr))
    except Invalid as error:
        return TurnedAway(error.message, Verdict.MALFORMED)
    verdict = intune.judge(challenge, accepted.rules, now)
    if verdict is not Verdict.GOOD:
        return TurnedAway(f"the challenge of {challenge.device} is refused: {verdict.value}", verdict)
    if differences:
        return TurnedAway("; ".join(differences), Verdict.MISMATCH)
    return Admitted(_client(challenge.device, "signed challenge", request_id), challenge)


def use(work: Work, door: Door, challenge: intune.Challenge, transaction: bytes, now: datetime) -> None:
    """Use a connector's challenge for a transaction, and the device's quota of them, in the open transaction.

    Raises `Refused` when it was used for another transaction, and `QuotaExceeded`.
    """
    if door.signed is None:
        raise Refused("signed challenges are not accepted any more")
    rules = door.signed.rules
    until = min(challenge.expires_at, challenge.issued_at + rules.validity) + rules.skew
    first = work.presented.present(REALM + door.label, challenge.nonce.encode(), transaction, now, until)
    if first.used_for != transaction:
        raise Refused("the challenge has been used for another request")
    if first.at != now or not rules.per_day:
        return
    again = work.quotas.take(_QUOTA, f"{door.label} {challenge.device}", rules.per_day, DAY, now)
    if again is not None:
        raise QuotaExceeded(
            f"{challenge.device} has had the {rules.per_day} certificates that it may have within a day",
            retry_after=max(1, round((again - now).total_seconds())),
        )


def transaction_of(request: scep.Request, csr: x509.CertificateSigningRequest) -> bytes:
    """What tells a repetition from another request: the name of the transaction and the key that is asked for."""
    return hashlib.sha256(f"{request.transaction_id} {keys.digest(csr)}".encode()).digest()


def trust_problems(certificates: Sequence[x509.Certificate], now: datetime) -> tuple[str, ...]:
    """What is wrong with the certificates that a connector may sign with; empty when one of them can be used."""
    usable = [one for one in certificates if one.not_valid_before_utc <= now <= one.not_valid_after_utc]
    return () if usable else ("none of the certificates of the connector is valid now",)
