"""The labels of EST, made of the settings."""

from certctl_core.errors import NotConfigured, NotFound
from certctl_core.ids import IssuerId, OwnerId, ProfileId, RenewalPolicyId, TeamId
from certctl_core.models.access import SYSTEM
from certctl_core.ports import Ports
from certctl_core.usecases import catalog
from certctl_core.usecases.enrolment import Belonging
from certctl_core.usecases.est import Label
from certctl_web.est import EstLabels, Kept, TrustFile
from certctl_web.est_settings import EstDoor, called
from certctl_web.setting import PREFIX
from certctl_web.settings import Settings


def labels(settings: Settings) -> EstLabels:
    """Every label, its bundle watched from now on. Raises `NotConfigured` for one that cannot be used."""
    return EstLabels.of(_kept(name, given) for name, given in settings.est_doors.items())


def _kept(name: str, given: EstDoor) -> Kept:
    label = Label(
        name=name,
        issuer_id=IssuerId(given.issuer_id),
        profile_id=ProfileId(given.profile_id) if given.profile_id else None,
        belongs=Belonging(
            owner_id=OwnerId(given.owner_id),
            team_id=TeamId(given.team_id),
            renewal_policy_id=RenewalPolicyId(given.renewal_policy_id),
            environment=given.environment,
        ),
        methods=given.accepted,
        password=given.password,
        is_bound=given.is_bound,
        makes_keys=given.makes_keys,
        per_day=given.per_day,
    )
    return Kept(label, None if given.bundle_path is None else TrustFile(given.bundle_path))


def require_known(ports: Ports, settings: Settings) -> None:
    """Raises `NotConfigured` naming the setting for a label that leads to an issuer, or is an owner's, that is not."""
    for label, given in settings.est_doors.items():
        wanted = (
            ("EST_ISSUER_ID", given.issuer_id, catalog.get_issuer),
            ("EST_PROFILE_ID", given.profile_id, catalog.get_profile),
            ("EST_OWNER_ID", given.owner_id, catalog.get_owner),
            ("EST_TEAM_ID", given.team_id, catalog.get_team),
            ("EST_RENEWAL_POLICY_ID", given.renewal_policy_id, catalog.get_renewal_policy),
        )
        for name, identity, get in wanted:
            if not identity:
                continue
            try:
                get(ports, SYSTEM, identity)
            except NotFound as error:
                variable = f"{PREFIX}{called(name, label)}"
                raise NotConfigured(f"{variable}={identity}: {error.message}", hint=error.hint) from error
