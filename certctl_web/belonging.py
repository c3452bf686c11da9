"""Who signs for a door that devices enrol at, and whose their certificates are: alike for EST and SCEP."""

from collections.abc import Mapping
from typing import Protocol

from certctl_core.errors import NotConfigured, NotFound
from certctl_core.ids import OwnerId, RenewalPolicyId, TeamId
from certctl_core.models.access import SYSTEM
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.ports import Ports
from certctl_core.usecases import catalog
from certctl_core.usecases.enrolment import Belonging
from certctl_web.setting import PREFIX, of_label


class Given(Protocol):
    """What the settings of either protocol say of it."""

    @property
    def issuer_id(self) -> str: ...
    @property
    def profile_id(self) -> str: ...
    @property
    def owner_id(self) -> str: ...
    @property
    def team_id(self) -> str: ...
    @property
    def renewal_policy_id(self) -> str: ...
    @property
    def environment(self) -> str: ...


def of(given: Given) -> Belonging:
    return Belonging(
        owner_id=OwnerId(given.owner_id),
        team_id=TeamId(given.team_id),
        renewal_policy_id=RenewalPolicyId(given.renewal_policy_id),
        environment=given.environment,
    )


def require_known(ports: Ports, protocol: EnrolmentProtocol, doors: Mapping[str, Given]) -> None:
    """Raises `NotConfigured` naming the setting for a door that leads to an issuer, or is an owner's, that is not."""
    for label, given in doors.items():
        wanted = (
            ("ISSUER_ID", given.issuer_id, catalog.get_issuer),
            ("PROFILE_ID", given.profile_id, catalog.get_profile),
            ("OWNER_ID", given.owner_id, catalog.get_owner),
            ("TEAM_ID", given.team_id, catalog.get_team),
            ("RENEWAL_POLICY_ID", given.renewal_policy_id, catalog.get_renewal_policy),
        )
        for name, identity, get in wanted:
            if not identity:
                continue
            try:
                get(ports, SYSTEM, identity)
            except NotFound as error:
                variable = f"{PREFIX}{of_label(protocol.value, f'{protocol.value}_{name}', label)}"
                raise NotConfigured(f"{variable}={identity}: {error.message}", hint=error.hint) from error
