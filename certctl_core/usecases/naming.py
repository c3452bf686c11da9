"""Names for ids, so that people read `api.example.org` where a job says `cert-01jd3...`."""

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from certctl_core.models.access import ActorType
from certctl_core.models.jobs import Job
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports


@frozen
class Names:
    """The names behind ids. An id that no longer leads anywhere is its own name."""

    certificates: Mapping[str, str] = field(factory=dict)
    targets: Mapping[str, str] = field(factory=dict)
    agents: Mapping[str, str] = field(factory=dict)

    def certificate(self, identity: str) -> str:
        return self.certificates.get(identity, identity)

    def target(self, identity: str | None) -> str:
        return self.targets.get(identity or "", identity or "")

    def agent(self, identity: str | None) -> str:
        return self.agents.get(identity or "", identity or "")


def of_jobs(ports: Ports, jobs: Iterable[Job]) -> Names:
    """The names of everything these jobs speak of, in one statement for each kind."""
    jobs = tuple(jobs)
    return _look_up(
        ports,
        {job.certificate_id for job in jobs},
        {job.target_id for job in jobs if job.target_id},
        {job.agent_id for job in jobs if job.agent_id},
    )


def of_actors(ports: Ports, events: Iterable[AuditEvent]) -> Names:
    """The names of the agents among those who did something; people and the system are their own names."""
    return _look_up(ports, (), (), {event.actor for event in events if event.actor_type is ActorType.AGENT})


def _look_up(ports: Ports, certificates: Iterable[str], targets: Iterable[str], agents: Iterable[str]) -> Names:
    with ports.work() as work:
        return Names(
            {key: found.name for key, found in work.certificates.many(certificates).items()},
            {key: found.name for key, found in work.targets.many(targets).items()},
            {key: found.name for key, found in work.agents.many(agents).items()},
        )
