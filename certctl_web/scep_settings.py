"""Settings of SCEP: of the service, and of each of its doors.

The door without a label is `/scep`. `SCEP_PROFILES=phones` makes another one, `/scep/phones`, with settings of its own
that are called as those of the first are, with `SCEP_PROFILE_PHONES_` in the place of `SCEP_`.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from attrs import field, frozen

from certctl_core.policy.shared_secret import SharedSecret
from certctl_web.setting import PREFIX, Row, boolean, duration, labels, of_label, path, text, whole

_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


@frozen
class ScepDoor:
    """One door. The names of its settings are those of the door without a label."""

    issuer_id: Annotated[str, Row("SCEP_ISSUER_ID", text, "Issuer whose certificates are enrolled for.")] = "iss-local"
    profile_id: Annotated[
        str, Row("SCEP_PROFILE_ID", text, "Certificate profile of what is enrolled for; none by default.")
    ] = ""
    owner_id: Annotated[str, Row("SCEP_OWNER_ID", text, "Whose the certificates are.")] = "o-default"
    team_id: Annotated[str, Row("SCEP_TEAM_ID", text, "Whose team they belong to.")] = "t-default"
    renewal_policy_id: Annotated[
        str, Row("SCEP_RENEWAL_POLICY_ID", text, "By which it is told when a device should have renewed and has not.")
    ] = "rp-default"
    environment: Annotated[str, Row("SCEP_ENVIRONMENT", text, "The environment they are listed under.")] = ""
    challenge: Annotated[
        SharedSecret | None,
        Row(
            "SCEP_CHALLENGE_PASSWORD",
            SharedSecret.of,
            "Challenge that every device shows to enrol. Only a hash of it is kept in memory.",
            secret=True,
        ),
    ] = field(default=None, repr=False)
    one_time: Annotated[
        bool,
        Row("SCEP_ONE_TIME_CHALLENGES", boolean, "Accept challenges that were made for one device through the API."),
    ] = False
    ra_cert_path: Annotated[
        Path | None,
        Row(
            "SCEP_RA_CERT_PATH",
            path,
            "Own certificate of the registration authority, with an RSA key, PEM; read anew when it changes. "
            "By default the issuer's CA makes one and renews it.",
        ),
    ] = None
    ra_key_path: Annotated[Path | None, Row("SCEP_RA_KEY_PATH", path, "Key of that certificate, PEM.")] = None
    allow_3des: Annotated[
        bool, Row("SCEP_ALLOW_3DES", boolean, "Accept messages enciphered with Triple DES, from old devices.")
    ] = False
    allow_legacy: Annotated[
        bool,
        Row(
            "SCEP_ALLOW_LEGACY",
            boolean,
            "Accept messages enciphered with single DES and signed with SHA-1 too. For tests and museums.",
        ),
    ] = False
    clock_tolerance: Annotated[
        timedelta,
        Row("SCEP_CLOCK_TOLERANCE", duration(_MINUTE), "How far the signing time that a message gives may be off."),
    ] = timedelta(days=1)
    mtls_enabled: Annotated[
        bool,
        Row("SCEP_MTLS_ENABLED", boolean, "Answer at /scep-mtls, to clients with a certificate of the bundle's CAs."),
    ] = False
    mtls_only: Annotated[
        bool, Row("SCEP_MTLS_ONLY", boolean, "With SCEP_MTLS_ENABLED, answer nowhere else: /scep is closed.")
    ] = True
    mtls_bundle_path: Annotated[
        Path | None,
        Row("SCEP_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH", path, "CAs of the certificates that clients show, PEM."),
    ] = None
    intune_enabled: Annotated[
        bool, Row("SCEP_INTUNE_ENABLED", boolean, "Accept challenges that a connector to an MDM service signed.")
    ] = False
    intune_cert_path: Annotated[
        Path | None,
        Row(
            "SCEP_INTUNE_CONNECTOR_CERT_PATH",
            path,
            "Certificates that the connector signs with, PEM; read anew when they change.",
        ),
    ] = None
    intune_audience: Annotated[
        str,
        Row(
            "SCEP_INTUNE_AUDIENCE",
            text,
            "Whom the challenges must be for. By default the address of this door under CERTCTL_PUBLIC_URL.",
        ),
    ] = ""
    intune_validity: Annotated[
        timedelta,
        Row("SCEP_INTUNE_CHALLENGE_VALIDITY", duration(_MINUTE), "How old a challenge may be, whatever it says."),
    ] = _HOUR
    intune_per_day: Annotated[
        int,
        Row(
            "SCEP_INTUNE_PER_DEVICE_RATE_LIMIT_24H",
            whole(0, 10_000),
            "Challenges that one device may use within 24 hours; 0 for any number.",
        ),
    ] = 3
    intune_skew: Annotated[
        timedelta,
        Row("SCEP_INTUNE_CLOCK_SKEW_TOLERANCE", duration(timedelta(0)), "How far the connector's clock may be off."),
    ] = _MINUTE

    @property
    def has_challenge(self) -> bool:
        return self.challenge is not None or self.one_time or self.intune_enabled


@frozen
class Scep:
    """The service."""

    enabled: Annotated[bool, Row("SCEP_ENABLED", boolean, "Answer SCEP (RFC 8894) at /scep.")] = False
    profiles: Annotated[
        tuple[str, ...],
        Row(
            "SCEP_PROFILES",
            labels,
            "Labels of further doors, comma-separated: phones is /scep/phones, and its settings are called "
            "SCEP_PROFILE_PHONES_ISSUER_ID and so on, as those of /scep.",
        ),
    ] = ()
    plain_http: Annotated[
        bool, Row("SCEP_PLAIN_HTTP", boolean, "Answer SCEP on the plain HTTP listener too, if there is one.")
    ] = False


def doors(service: Scep, first: ScepDoor, others: dict[str, ScepDoor]) -> dict[str, ScepDoor]:
    """The doors there are, by label. The one without a label is there when something was said of its challenges, or
    when there is no other."""
    if not service.enabled:
        return {}
    return {**({"": first} if first.has_challenge or not others else {}), **others}


def contradictions(found: dict[str, ScepDoor], public_url: str) -> Iterator[str]:
    """What does not make a door, one sentence each."""
    for label, door in found.items():

        def name(of: str, label: str = label) -> str:
            return f"{PREFIX}{called(of, label)}"

        if not door.has_challenge:
            yield (
                f"{name('SCEP_CHALLENGE_PASSWORD')} is not set, and neither are "
                f"{name('SCEP_ONE_TIME_CHALLENGES')} and {name('SCEP_INTUNE_ENABLED')}: anybody could enrol"
            )
        if (door.ra_cert_path is None) != (door.ra_key_path is None):
            yield f"{name('SCEP_RA_CERT_PATH')} and {name('SCEP_RA_KEY_PATH')} belong together: set both or neither"
        if door.mtls_enabled and door.mtls_bundle_path is None:
            yield f"{name('SCEP_MTLS_ENABLED')} needs {name('SCEP_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH')}"
        if door.intune_enabled and door.intune_cert_path is None:
            yield f"{name('SCEP_INTUNE_ENABLED')} needs {name('SCEP_INTUNE_CONNECTOR_CERT_PATH')}"
        if door.intune_enabled and not door.intune_audience and not public_url:
            yield f"{name('SCEP_INTUNE_ENABLED')} needs {name('SCEP_INTUNE_AUDIENCE')}, or {PREFIX}PUBLIC_URL"


def oddities(found: dict[str, ScepDoor]) -> Iterator[str]:
    """What works and should be thought about."""
    for label, door in found.items():
        if door.allow_legacy:
            yield f"{PREFIX}{called('SCEP_ALLOW_LEGACY', label)}=true: DES can be broken by anybody who wants to"


def called(name: str, label: str) -> str:
    """The name of a door's setting, from that of the door without a label."""
    return of_label("SCEP", name, label)
