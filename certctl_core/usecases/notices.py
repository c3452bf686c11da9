"""The words of messages: what happened to which certificate, and what to do next."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from certctl_core.models.catalog import ConfiguredTarget, RenewalPolicy
from certctl_core.models.certificates import CertificateStatus, CertificateVersion, ManagedCertificate, RevocationReason
from certctl_core.models.enrolment import is_renewed_by_device
from certctl_core.models.policies import PolicyRule, Severity
from certctl_core.models.records import AlertSeverity, NotificationType
from certctl_core.usecases.notifications import Notice


def ending(certificate: ManagedCertificate, policy: RenewalPolicy, severity: AlertSeverity, now: datetime) -> Notice:
    """A certificate that has been issued ends soon, or has ended."""
    return Notice(
        type=NotificationType.EXPIRATION_WARNING,
        severity=severity,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} {_ends(certificate, now)}.",
        next=_next_step(certificate, policy),
    )


def renewal_failed(certificate: ManagedCertificate, why: str) -> Notice:
    """Every attempt of a round has failed. `certificate` as it is now, with the time of its next round."""
    again = (
        f"It is tried again at {_time(certificate.renew_at)}; to try at once"
        if certificate.renew_at
        else "It is not tried again by itself; to try again"
    )
    return _failure(
        certificate,
        f"The certificate {_called(certificate)} could not be issued: {_sentence(why)}{_present(certificate)}",
        f"{again}: certctl certs renew {certificate.id}.",
    )


def renewal_paused(certificate: ManagedCertificate, issued: int) -> Notice:
    """It was issued so often that something must be wrong."""
    return _failure(
        certificate,
        f"{issued} certificates were issued for {_called(certificate)} within a day. Its renewal is paused for a day.",
        f"Find out what asks for so many; to go on before: certctl certs renew {certificate.id} --force.",
    )


def renewal_overdue(certificate: ManagedCertificate) -> Notice:
    """It should have been renewed long ago, and nothing else may have said so."""
    reason = f": {_sentence(certificate.status_reason)}" if certificate.status_reason else "."
    wanted = "renewed" if certificate.expires_at else "issued"
    return _failure(
        certificate,
        f"The certificate {_called(certificate)} should have been {wanted} by now and has not been. "
        f"It is {certificate.status.value}{reason}{_present(certificate)}",
        _ask_the_device(certificate)
        if is_renewed_by_device(certificate)
        else "See whether its agents are online and what its jobs say; "
        f"to begin anew: certctl certs renew {certificate.id} --force.",
    )


def renewed(certificate: ManagedCertificate, version: CertificateVersion) -> Notice:
    return Notice(
        type=NotificationType.RENEWAL_SUCCESS,
        severity=AlertSeverity.INFORMATIONAL,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} was renewed. The new one has the serial number "
        f"{version.serial_number} and ends on {_time(version.not_after)}.",
        next=_NOTHING,
    )


def deployment_failed(certificate: ManagedCertificate, target: ConfiguredTarget | None, why: str) -> Notice:
    """Every attempt to bring the newest version to a target has failed."""
    return Notice(
        type=NotificationType.DEPLOYMENT_FAILURE,
        severity=AlertSeverity.CRITICAL,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} could not be deployed to {_place(target)}: {_sentence(why)} "
        "What was served there before still is.",
        next="Mend the cause, then have it deployed again.",
    )


def deployed_after_all(certificate: ManagedCertificate, target: ConfiguredTarget | None) -> Notice:
    """All clear for a target where it failed before."""
    return Notice(
        type=NotificationType.DEPLOYMENT_SUCCESS,
        severity=AlertSeverity.INFORMATIONAL,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} is now deployed to {_place(target)}, where it failed before.",
        next=_NOTHING,
    )


def revoked(
    certificate: ManagedCertificate, reason: RevocationReason, serial_numbers: Sequence[str], by: str
) -> Notice:
    serials = ", ".join(serial_numbers) or "none that is still valid"
    return Notice(
        type=NotificationType.REVOCATION,
        severity=AlertSeverity.CRITICAL,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} was revoked by {by} ({reason.value}). Serial numbers: {serials}.",
        next="Clients that check refuse servers that still use it; a replacement is a new certificate.",
    )


def policy_broken(certificate: ManagedCertificate, rule: PolicyRule, why: str, others: int = 0) -> Notice:
    """It does not meet a rule, and as many others of its owner's do not either."""
    more = f" So do {others} other certificates." if others else ""
    return Notice(
        type=NotificationType.POLICY_VIOLATION,
        severity=AlertSeverity.WARNING if rule.severity is Severity.WARNING else AlertSeverity.CRITICAL,
        certificate=certificate,
        what=f"The certificate {_called(certificate)} breaks the policy rule {rule.name} ({rule.severity.value}): "
        f"{_sentence(why)}{more}",
        next="Change the certificate, or have the rule changed; the violation then closes by itself.",
    )


_NOTHING: Final = "Nothing needs to be done."


def _failure(certificate: ManagedCertificate, what: str, next_step: str) -> Notice:
    return Notice(
        type=NotificationType.RENEWAL_FAILURE,
        severity=AlertSeverity.CRITICAL,
        certificate=certificate,
        what=what,
        next=next_step,
    )


def _called(certificate: ManagedCertificate) -> str:
    return f"{certificate.name} ({certificate.common_name})"


def _place(target: ConfiguredTarget | None) -> str:
    return f"{target.name} on {target.agent_id}" if target else "a target that is no more"


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "no time"


def _sentence(text: str) -> str:
    """What a CA, an agent or an operator said, as a sentence."""
    said = text.strip() or "no reason was given"
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _present(certificate: ManagedCertificate) -> str:
    return f" The present one ends on {_time(certificate.expires_at)}." if certificate.expires_at else ""


def days_left(certificate: ManagedCertificate, now: datetime) -> int:
    """Whole days until its end, begun ones counted, 0 when it is past."""
    left = (certificate.expires_at or now) - now
    return max(-(-left // timedelta(days=1)), 0)


def _ends(certificate: ManagedCertificate, now: datetime) -> str:
    at = _time(certificate.expires_at)
    days = days_left(certificate, now)
    if not days:
        return f"ended on {at}"
    return f"ends in {days} {'day' if days == 1 else 'days'}, on {at}"


def _ask_the_device(certificate: ManagedCertificate) -> str:
    return (
        f"The device that enrolled for it renews it, by {certificate.source.value}; nobody else has its key. "
        "See whether the device is still in use, and why it does not renew; "
        "if it is not, revoke or archive the certificate."
    )


def _next_step(certificate: ManagedCertificate, policy: RenewalPolicy) -> str:
    command = f"certctl certs renew {certificate.id}"
    if is_renewed_by_device(certificate):
        return _ask_the_device(certificate)
    if certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS:
        return f"Its renewal is under way; see how it goes with: certctl certs get {certificate.id}."
    if certificate.status_reason:
        return f"What stands in the way: {_sentence(certificate.status_reason)} Mend that, then: {command}."
    if policy.auto_renew:
        return "It is renewed by itself; nothing needs to be done unless that fails."
    return f"Its renewal policy {policy.name} leaves renewing to you: {command}."
