"""What operators configure, and managed certificates as they see them."""

from datetime import timedelta

import pytest

from certctl_core.errors import Conflict, Duplicate, InUse, Invalid, NotFound
from certctl_core.ids import AgentId, TeamId
from certctl_core.models.agents import Agent
from certctl_core.models.catalog import TestStatus as ConnectionTest
from certctl_core.models.certificates import CertificateStatus
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import agents, audit, catalog, certificates, status
from certctl_core.usecases.certificates import UpdateCertificate
from tests.core.usecases.world import ADMIN, World


def test_deleting_a_team_never_deletes_certificates(world: World) -> None:
    world.certificate()
    with pytest.raises(InUse):
        catalog.delete_team(world.ports, ADMIN, "team-1")
    assert catalog.get_team(world.ports, ADMIN, "team-1").name == "platform"


def test_an_update_leaves_what_is_not_given(world: World) -> None:
    team = catalog.create_team(world.ports, ADMIN, catalog.CreateTeam(name="net", description="the network"))
    changed = catalog.update_team(world.ports, ADMIN, team.id, catalog.UpdateTeam(name="networking"))
    assert (changed.name, changed.description) == ("networking", "the network")
    assert changed.revision == team.revision + 1


def test_a_name_is_taken_once_and_a_reference_to_nothing_names_its_field(world: World) -> None:
    catalog.create_team(world.ports, ADMIN, catalog.CreateTeam(name="net"))
    with pytest.raises(Duplicate):
        catalog.create_team(world.ports, ADMIN, catalog.CreateTeam(name="net"))
    with pytest.raises(Invalid) as refusal:
        catalog.create_owner(world.ports, ADMIN, catalog.CreateOwner(name="Ann", team_id=TeamId("team-x")))
    assert refusal.value.fields[0].field == "team_id"


def test_every_wrong_field_of_a_policy_is_named(world: World) -> None:
    asked = catalog.CreateRenewalPolicy(
        name="", renewal_window=timedelta(days=400), max_retries=99, alert_thresholds_days=(30, -1)
    )
    with pytest.raises(Invalid) as refusal:
        catalog.create_renewal_policy(world.ports, ADMIN, asked)
    named = {problem.field for problem in refusal.value.fields}
    assert named == {"name", "renewal_window_days", "max_retries", "alert_thresholds_days[1]"}


def test_a_window_of_zero_is_the_last_third_of_life(world: World) -> None:
    asked = catalog.CreateRenewalPolicy(name="monthly", renewal_window=timedelta(days=30))
    policy = catalog.create_renewal_policy(world.ports, ADMIN, asked)
    again = catalog.update_renewal_policy(world.ports, ADMIN, policy.id, catalog.UpdateRenewalPolicy())
    assert again.renewal_window == timedelta(days=30)
    third = catalog.UpdateRenewalPolicy(renewal_window=timedelta(0))
    assert catalog.update_renewal_policy(world.ports, ADMIN, policy.id, third).renewal_window is None


def test_a_secret_setting_is_sealed_shown_masked_and_kept_when_sent_back_masked(world: World) -> None:
    asked = catalog.CreateIssuer(name="vault", type="GenericCA", config={"token": "s3cret", "addr": "a"})
    issuer = catalog.create_issuer(world.ports, ADMIN, asked)
    assert issuer.config["token"] == catalog.MASK
    assert issuer.sealed_config is not None
    assert b"s3cret" not in issuer.sealed_config
    assert catalog.full_config(world.ports, issuer)["token"] == "s3cret"

    changed = catalog.update_issuer(
        world.ports, ADMIN, issuer.id, catalog.UpdateIssuer(config={"token": catalog.MASK, "addr": "b"})
    )
    assert changed.config["addr"] == "b"
    assert catalog.full_config(world.ports, changed)["token"] == "s3cret"


def test_an_unknown_issuer_type_is_refused(world: World) -> None:
    with pytest.raises(Invalid) as refusal:
        catalog.create_issuer(world.ports, ADMIN, catalog.CreateIssuer(name="x", type="Nonesuch", config={}))
    assert refusal.value.fields[0].field == "type"


def test_a_target_needs_an_agent_that_is_there(world: World) -> None:
    agent = world.agent()
    agents.retire(world.ports, ADMIN, agent.id)
    for agent_id in (agent.id, AgentId("agent-nobody")):
        with pytest.raises(Invalid) as refusal:
            catalog.create_target(
                world.ports, ADMIN, catalog.CreateTarget(name="t", type="NGINX", agent_id=agent_id, config={})
            )
        assert refusal.value.fields[0].field == "agent_id"


def test_a_target_is_reachable_while_its_agent_is_heard(world: World) -> None:
    agent: Agent = world.agent()
    target = world.target(agent)
    assert catalog.test_target(world.ports, ADMIN, target.id) == (True, "")
    world.clock.advance(timedelta(minutes=6))
    reachable, why = catalog.test_target(world.ports, ADMIN, target.id)
    assert not reachable
    assert agent.id in why
    assert catalog.get_target(world.ports, ADMIN, target.id).test_status is ConnectionTest.FAILED


def test_every_wrong_field_of_a_certificate_is_named(world: World) -> None:
    good = world.certificate()
    with pytest.raises(Invalid) as refusal:
        certificates.update(
            world.ports, ADMIN, good.id, UpdateCertificate(common_name="-bad-.example", sans=("ok.example", "no way"))
        )
    assert {problem.field for problem in refusal.value.fields} == {"common_name", "sans[1]"}


def test_an_archived_certificate_gives_its_name_back_and_changes_no_more(world: World) -> None:
    certificate = world.certificate()
    certificates.archive(world.ports, ADMIN, certificate.id)
    certificates.archive(world.ports, ADMIN, certificate.id)
    assert world.now_is(certificate).status is CertificateStatus.ARCHIVED
    with pytest.raises(Conflict, match="archived"):
        certificates.update(world.ports, ADMIN, certificate.id, UpdateCertificate(environment="prod"))


def test_giving_an_unissued_certificate_its_first_target_makes_it_due(world: World) -> None:
    certificate = world.certificate()
    assert certificate.renew_at is None
    target = world.target(world.agent())
    due = certificates.update(world.ports, ADMIN, certificate.id, UpdateCertificate(target_ids=(target.id,)))
    assert due.renew_at == world.clock.now()


def test_an_unknown_certificate_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="mc-none"):
        certificates.get(world.ports, ADMIN, "mc-none")


def test_the_audit_trail_says_who_did_what(world: World) -> None:
    certificate = world.certificate()
    certificates.update(world.ports, ADMIN, certificate.id, UpdateCertificate(environment="production"))
    events = audit.page(world.ports, ADMIN, Query((Where("resource_id", certificate.id),), sort="timestamp")).items
    assert [(event.actor, event.action) for event in events] == [
        ("alice", "certificate_created"),
        ("alice", "certificate_updated"),
    ]
    assert events[1].details["changed"] == {"environment": "production"}


def test_the_summary_counts_what_is_there(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    world.certificate(name="second")
    summary = status.summary(world.ports, ADMIN)
    assert summary.total_certificates == 2
    assert summary.certificates[CertificateStatus.ACTIVE] == 1
    assert summary.expiring_soon == 0
    world.clock.advance(timedelta(days=70))
    assert status.summary(world.ports, ADMIN).expiring_soon == 1
