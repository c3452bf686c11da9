"""The doors of SCEP, made of the settings."""

from typing import Final

from certctl_core.ids import IssuerId, ProfileId
from certctl_core.pki import cms
from certctl_core.policy import intune
from certctl_core.usecases.scep_doors import Door, Doors, SignedChallenges
from certctl_web import belonging, files
from certctl_web.scep_settings import ScepDoor
from certctl_web.settings import Settings

_LEGACY: Final = (cms.Cipher.DES, cms.Cipher.TRIPLE_DES, cms.Digest.SHA1)


def doors(settings: Settings) -> Doors:
    """Every door, its files watched from now on. Raises `NotConfigured` for files that cannot be used."""
    found = {label: _door(label, given, settings.web.public_url) for label, given in settings.scep_doors.items()}
    for door in found.values():
        _look_at_files(door)
    return Doors(found)


def _door(label: str, given: ScepDoor, public_url: str) -> Door:
    accepted = cms.MODERN.also(cms.Cipher.TRIPLE_DES) if given.allow_3des else cms.MODERN
    has_pair = given.ra_cert_path is not None and given.ra_key_path is not None
    return Door(
        label=label,
        issuer_id=IssuerId(given.issuer_id),
        profile_id=ProfileId(given.profile_id) if given.profile_id else None,
        belongs=belonging.of(given),
        accepted=accepted.also(*_LEGACY) if given.allow_legacy else accepted,
        static=given.challenge,
        one_time=given.one_time,
        signed=_signed(label, given, public_url),
        own_ra=files.pair(given.ra_cert_path, given.ra_key_path)
        if has_pair and given.ra_cert_path and given.ra_key_path
        else None,
        tolerance=given.clock_tolerance,
        client_authorities=files.bundle(given.mtls_bundle_path)
        if given.mtls_enabled and given.mtls_bundle_path
        else None,
        client_authorities_path=str(given.mtls_bundle_path or ""),
        is_mutual_only=given.mtls_enabled and given.mtls_only,
    )


def _signed(label: str, given: ScepDoor, public_url: str) -> SignedChallenges | None:
    if not given.intune_enabled or given.intune_cert_path is None:
        return None
    rules = intune.Rules(
        audience=given.intune_audience or f"{public_url}/scep{f'/{label}' if label else ''}",
        validity=given.intune_validity,
        skew=given.intune_skew,
        per_day=given.intune_per_day,
    )
    return SignedChallenges(rules=rules, trusted=files.bundle(given.intune_cert_path), path=str(given.intune_cert_path))


def _look_at_files(door: Door) -> None:
    if door.own_ra is not None:
        door.own_ra()
    if door.signed is not None:
        door.signed.trusted()
    if door.client_authorities is not None:
        door.client_authorities()
