"""The labels of EST, made of the settings."""

from certctl_core.ids import IssuerId, ProfileId
from certctl_core.usecases.est import Label
from certctl_web import belonging
from certctl_web.est import EstLabels, Kept, TrustFile
from certctl_web.est_settings import EstDoor
from certctl_web.settings import Settings


def labels(settings: Settings) -> EstLabels:
    """Every label, its bundle watched from now on. Raises `NotConfigured` for one that cannot be used."""
    return EstLabels.of(_kept(name, given) for name, given in settings.est_doors.items())


def _kept(name: str, given: EstDoor) -> Kept:
    label = Label(
        name=name,
        issuer_id=IssuerId(given.issuer_id),
        profile_id=ProfileId(given.profile_id) if given.profile_id else None,
        belongs=belonging.of(given),
        methods=given.accepted,
        password=given.password,
        is_bound=given.is_bound,
        makes_keys=given.makes_keys,
        per_day=given.per_day,
    )
    return Kept(label, None if given.bundle_path is None else TrustFile(given.bundle_path))
