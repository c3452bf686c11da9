"""Exports: what was issued, handed out as files. Private keys are never part of one: their hosts alone have them."""

import math
from datetime import datetime, timedelta
from typing import Final

from certctl_core.errors import NotFound, QuotaExceeded
from certctl_core.models.access import Principal
from certctl_core.models.certificates import CertificateVersion
from certctl_core.pki import bundle
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, scope

WITHIN: Final = timedelta(hours=1)
LONGEST_QUOTA: Final = timedelta(days=1)
_QUOTA: Final = "export"


def pem(ports: Ports, caller: Principal, certificate_id: str, most: int) -> CertificateVersion:
    """The newest version of a certificate, to be written as PEM. `most` is how many exports of any kind the caller may
    have within an hour, 0 for any number.

    Raises `NotFound` for what the caller cannot see and when nothing was issued, `QuotaExceeded` when there are no
    exports left.
    """
    return _taken(ports, caller, certificate_id, most, "export_pem")


def pkcs12(ports: Ports, caller: Principal, certificate_id: str, most: int, password: str = "") -> bytes:
    """As `pem`, as a PKCS #12 trust store: the certificate and those above it, each marked as trusted."""
    version = _taken(ports, caller, certificate_id, most, "export_pkcs12")
    return bundle.to_trust_store((version.certificate, *version.chain), password)


def _taken(ports: Ports, caller: Principal, certificate_id: str, most: int, action: str) -> CertificateVersion:
    now = ports.clock.now()
    with ports.work() as work:
        certificate = scope.get(work, caller, certificate_id)
        version = work.versions.latest(certificate.id)
        if version is None:
            raise NotFound(
                f"nothing has been issued for certificate {certificate.id}",
                hint="Renew it, and export it when it is Active.",
            )
        if most:
            _use(work, caller, most, now)
        audit.record(
            work,
            caller,
            now,
            action,
            "certificate",
            certificate.id,
            serial=version.serial_number,
            has_private_key=False,
        )
    return version


def _use(work: Work, caller: Principal, most: int, now: datetime) -> None:
    again = work.quotas.take(_QUOTA, caller.identity, most, WITHIN, now)
    if again is not None:
        seconds = max(1, math.ceil((again - now).total_seconds()))
        raise QuotaExceeded(
            f"{most} exports within an hour are permitted, and you have had them",
            retry_after=seconds,
            hint=f"The next one is possible in {seconds} seconds.",
        )


def forget_quotas(ports: Ports) -> int:
    """Forget quotas of which nothing was used lately. Returns how many."""
    with ports.work() as work:
        return work.quotas.forget(ports.clock.now() - LONGEST_QUOTA)
