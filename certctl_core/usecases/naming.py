"""Names for ids, so that people read `api.example.org` where a job says `cert-01jd3...`."""

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from certctl_core.models.access import Actor, ActorType
from certctl_core.models.jobs import Job
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports
from certctl_core.usecases import scope


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


def of_jobs(ports: Ports, caller: Actor, jobs: Iterable[Job]) -> Names:
    """The names of everything these jobs, which the caller sees, speak of, in one statement for each kind."""
    jobs = tuple(jobs)
    return _look_up(
        ports,
        caller,
        {job.certificate_id for job in jobs},
        {job.target_id for job in jobs if job.target_id},
        {job.agent_id for job in jobs if job.agent_id},
    )


def of_actors(ports: Ports, caller: Actor, events: Iterable[AuditEvent]) -> Names:
    """The names of the agents among those who did something; people and the system are their own names."""
    agents = {event.actor for event in events if event.actor_type is ActorType.AGENT}
    return _look_up(ports, caller, (), (), agents)


def _look_up(
    ports: Ports, caller: Actor, certificates: Iterable[str], targets: Iterable[str], agents: Iterable[str]
) -> Names:
    """What is out of the caller's reach keeps its id for a name."""
    with ports.work() as work:
        return Names(
            {
                key: found.name
                for key, found in work.certificates.many(certificates).items()
                if scope.sees(caller, found)
            },
            {key: found.name for key, found in work.targets.many(targets).items() if scope.reaches(caller, found)},
            {key: found.name for key, found in work.agents.many(agents).items() if scope.reaches(caller, found)},
        )
