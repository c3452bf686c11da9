"""EST as administrators see it."""

from typing import Final

from certctl_core.errors import Conflict, NotConfigured, NotFound
from certctl_core.usecases import est as usecases
from certctl_web.access import ADMINS
from certctl_web.media.enrolment import EstProfile, EstProfiles, ReloadedTrust, ReloadTrust
from certctl_web.operation import Call, Operation, Row


def profiles(call: Call[None], _: None) -> EstProfiles:
    now = call.ports.clock.now()
    kept = call.options.est.by_name.values()
    found = tuple(
        EstProfile.of(one.now(), None if one.trust is None else str(one.trust.path), now)
        for one in sorted(kept, key=lambda one: one.label.name)
    )
    return EstProfiles(profiles=found, profile_count=len(found), generated_at=now)


def reload_trust(call: Call[None], asked: ReloadTrust) -> ReloadedTrust:
    label = call.options.est.reload(asked.path_id)
    at = usecases.note_reload(call.ports, call.caller, label)
    return ReloadedTrust(reloaded=True, path_id=asked.path_id, reloaded_at=at)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_est_profiles",
        tool="est_list_profiles",
        method="GET",
        path="/api/v1/admin/est/profiles",
        summary="Show the labels of EST, and the CAs they trust",
        who=ADMINS,
        run=profiles,
        answer=EstProfiles,
    ),
    Operation(
        name="reload_est_trust",
        method="POST",
        path="/api/v1/admin/est/reload-trust",
        summary="Read the CAs that a label trusts anew, and say whether they can be used",
        who=ADMINS,
        run=reload_trust,
        body=ReloadTrust,
        answer=ReloadedTrust,
        errors=(NotFound, Conflict, NotConfigured),
    ),
)
