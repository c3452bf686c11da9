"""What requests cost the database, in statements. `pytest -s` prints them; a request that grows is noticed here."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from psycopg_pool import ConnectionPool

from certctl_adapters.postgres.work import PostgresWork
from certctl_adapters.secretbox import PassphraseBox
from certctl_core.ids import AgentId, CertificateId
from certctl_core.models.access import SYSTEM, Principal, Role
from certctl_core.pki import csr
from certctl_core.usecases import access, issuance, renewal, reviews, watchdog
from certctl_core.usecases.issuance import SubmitCsr, Submitted
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.strangers import fleet
from tests.web.api import GIVEN, Api, Reply, csr_pem, make_api, make_ports

pytestmark = pytest.mark.integration


class Counted(psycopg.Cursor[Any]):
    """A cursor that remembers what it was asked, but for the frames of transactions."""

    statements: ClassVar[list[str]] = []

    def execute(self, query: Any, params: Any = None, **options: Any) -> "Counted":
        text = query if isinstance(query, bytes) else query.as_bytes(self)
        if text.split()[0] not in (b"BEGIN", b"COMMIT"):
            Counted.statements.append(" ".join(text.decode().split()))
        super().execute(query, params, **options)
        return self


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    clock = MovableClock()
    kwargs = {"autocommit": True, "cursor_factory": Counted}
    with ConnectionPool(database_url, min_size=1, max_size=4, kwargs=kwargs, open=True) as pool:
        ports = make_ports(PostgresWork(pool), clock)
        made = make_api(Options(given_keys=GIVEN, rate=None, record_calls=False), ports, clock)
        made.foundations()
        yield made
        made.app.close()


def cost(what: str, call: Callable[[], Any]) -> int:
    Counted.statements.clear()
    call()
    lines = (f"\n      {line[:100]}" for line in Counted.statements)
    sys.stdout.write(f"{len(Counted.statements):3} {what}{''.join(lines)}\n")
    return len(Counted.statements)


def test_who_asks_is_known_after_one_statement(api: Api) -> None:
    key = access.create_key(api.ports, SYSTEM, "somebody", Role.VIEWER).plain
    assert cost("first use of a key", lambda: access.authenticate(api.ports, key)) == 2
    assert cost("authentication", lambda: access.authenticate(api.ports, key)) == 1
    assert cost("a wrong key", lambda: api.get("/api/v1/teams", by="cck_wrong")) == 1
    api.clock.advance(timedelta(minutes=1))
    assert cost("authentication a minute later", lambda: access.authenticate(api.ports, key)) == 2


def test_the_calls_of_an_agent_cost_little(api: Api) -> None:
    agent = api.agent()
    api.certificate(api.target(agent))
    path = f"/api/v1/agents/{agent.id}"

    def poll() -> Reply:
        return api.get(f"{path}/work", by=agent.key)

    poll()
    api.get("/.well-known/pki/crl/iss-local", by=None)  # the CA is made by whoever comes first
    assert cost("heartbeat", lambda: api.post(f"{path}/heartbeat", {}, by=agent.key)) <= 3
    assert cost("a poll that finds nothing", poll) <= 4
    assert cost("renewal", lambda: api.made("/api/v1/certificates/mc-site/renew", {})) <= 9
    assert cost("a poll that finds a CSR to make", poll) <= 6
    sent = {"csr_pem": csr_pem("site.example.com", []), "certificate_id": "mc-site"}
    assert cost("a CSR, signed", lambda: api.post(f"{path}/csr", sent, by=agent.key)) <= 18
    assert cost("a poll that finds a deployment", poll) <= 8
    assert cost("the certificate", lambda: api.get(f"{path}/certificates/mc-site", by=agent.key)) <= 4
    (job,) = api.get("/api/v1/jobs?type=Deployment").json["data"]
    report = f"{path}/jobs/{job['id']}/status"
    assert cost("Running", lambda: api.post(report, {"status": "Running"}, by=agent.key)) <= 7
    assert cost("Completed", lambda: api.post(report, {"status": "Completed"}, by=agent.key)) <= 12


def test_a_batch_of_csrs_costs_as_many_statements_as_one(api: Api) -> None:
    agent = api.agent()
    target = api.target(agent)
    me = Principal(agent.id, Role.AGENT, AgentId(agent.id))
    for number in range(21):
        api.certificate(target, id=f"mc-{number}", name=f"site-{number}", common_name=f"site-{number}.example.com")
        api.made(f"/api/v1/certificates/mc-{number}/renew", {})

    def submit(numbers: range) -> None:
        asked = [
            SubmitCsr(
                agent_id=AgentId(agent.id),
                certificate_id=CertificateId(f"mc-{number}"),
                csr=csr.read(csr_pem(f"site-{number}.example.com", [])),
            )
            for number in numbers
        ]
        outcomes = issuance.submit_csrs(api.ports, me, AgentId(agent.id), asked)
        assert all(isinstance(outcome, Submitted) and outcome.version for outcome in outcomes)

    api.get("/.well-known/pki/crl/iss-local", by=None)  # the CA is made by whoever comes first
    one = cost("one CSR", lambda: submit(range(1)))
    assert cost("twenty CSRs", lambda: submit(range(1, 21))) == one <= 17


def test_a_sweep_costs_as_many_statements_for_one_certificate_as_for_many(api: Api) -> None:
    agent = api.agent()
    target = api.target(agent)

    def issued(prefix: str, count: int) -> None:
        for number in range(count):
            name = f"{prefix}-{number}"
            api.certificate(target, id=f"mc-{name}", name=name, common_name=f"{name}.example.com")
            api.made(f"/api/v1/certificates/mc-{name}/renew", {})
            api.post(
                f"/api/v1/agents/{agent.id}/csr",
                {"csr_pem": csr_pem(f"{name}.example.com", []), "certificate_id": f"mc-{name}"},
                by=agent.key,
            )

    def swept() -> None:
        assert renewal.sweep(api.ports) > 0

    def missed() -> None:
        assert watchdog.report(api.ports) > 0

    issued("first", 1)
    api.clock.advance(timedelta(days=66))
    one = cost("renewal and alert of one", swept)
    api.clock.advance(timedelta(days=3))
    one_missed = cost("one overdue", missed)
    issued("later", 12)
    api.clock.advance(timedelta(days=66))
    assert cost("renewals and alerts of twelve", swept) == one <= 14
    api.clock.advance(timedelta(days=3))
    assert cost("twelve overdue", missed) == one_missed <= 8


def test_work_without_secrets_opens_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a sealed value stretches a passphrase, which takes longer than the whole request otherwise does."""
    agent = api.agent()
    api.certificate(api.target(agent))
    api.issue(agent, "mc-site")
    opened: list[bytes] = []
    monkeypatch.setattr(type(api.ports.secrets), "open", lambda _box, sealed: opened.append(sealed))
    assert api.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["count"] == 1
    assert api.get("/.well-known/pki/crl/iss-local", by=None).status == 200
    assert opened == []


def test_a_key_is_stretched_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stretched: list[bytes] = []

    def counted(**how: Any) -> Any:
        stretched.append(how["salt"])
        return PBKDF2HMAC(**how)

    box = PassphraseBox("a passphrase that is long enough")
    sealed = [box.seal(b"one"), box.seal(b"two")]
    monkeypatch.setattr("certctl_adapters.secretbox.PBKDF2HMAC", counted)
    assert [box.open(one) for one in sealed * 3] == [b"one", b"two"] * 3
    assert stretched == []


def test_judging_by_policy_costs_the_same_however_many_certificates_there_are(api: Api) -> None:
    target = api.target(api.agent())
    api.made("/api/v1/agent-groups", {"id": "ag-1", "name": "edge"})
    spent = []
    for team, many in (("t-few", 2), ("t-many", 60)):
        api.made("/api/v1/teams", {"id": team, "name": team})
        for number in range(many):
            api.certificate(target, name=f"{team}-{number}", team_id=team)
        about = {"agent_group_ids": ["ag-1"], "team_ids": [team]}
        for kind in ("RequiredMetadata", "CertificateLifetime", "RenewalLeadTime"):
            api.made("/api/v1/policies", {"name": f"{team} {kind}", "type": kind} | about)
        spent.append(cost(f"a sweep for {many}", lambda: reviews.sweep(api.ports)))
        assert api.get("/api/v1/policy-violations?state=all").json["total"] == (2 if many == 2 else 62)
    assert spent[0] == spent[1]


def test_a_write_that_policy_judges_costs_little_more(api: Api) -> None:
    def create(name: str) -> Callable[[], Any]:
        return lambda: api.certificate(name=name)

    def change(name: str) -> Callable[[], Any]:
        return lambda: api.put(f"/api/v1/certificates/mc-{name}", {"environment": "test"})

    without = cost("create without rules", create("a")), cost("change without rules", change("a"))
    api.made("/api/v1/policies", {"id": "pr-1", "name": "tags", "type": "RequiredMetadata"})
    api.made("/api/v1/policies", {"id": "pr-2", "name": "places", "type": "AllowedEnvironments"})
    with_rules = cost("create with rules", create("b")), cost("change with rules", change("b"))
    assert with_rules[0] - without[0] <= 6
    assert with_rules[1] - without[1] <= 5


def test_members_of_a_group_cost_the_same_however_many_there_are(api: Api) -> None:
    api.made("/api/v1/agent-groups", {"id": "ag-1", "name": "edge"})
    spent = []
    for _ in range(2):
        for _ in range(5):
            api.agent()
        spent.append(cost("members", lambda: api.get("/api/v1/agent-groups/ag-1/members")))
    assert spent[0] == spent[1] <= 4


@pytest.mark.parametrize("verb", ["renew", "reassign", "revoke"])
def test_a_batch_of_many_costs_as_many_statements_as_a_batch_of_one(api: Api, verb: str) -> None:
    agent = api.agent()
    made = [f"mc-{n}" for n in range(9)]
    for n, certificate in enumerate(made):
        api.certificate(api.target(agent, name=f"t-{n}"), name=str(n))
        api.issue(agent, certificate)
    api.made("/api/v1/owners", {"id": "o-2", "name": "Paula"})
    body = {"renew": {}, "reassign": {"owner_id": "o-2"}, "revoke": {"reason": "superseded"}}[verb]

    def ask(ids: list[str]) -> int:
        return cost(
            f"bulk {verb} of {len(ids)}",
            lambda: api.made(f"/api/v1/certificates/bulk-{verb}", {"certificate_ids": ids, **body}),
        )

    one = ask(made[:1])
    assert ask(made[1:]) == one <= 22


def test_importing_many_costs_as_many_statements_as_importing_one(api: Api) -> None:
    def ask(pems: Sequence[str]) -> int:
        body = {
            "owner_id": "o-1",
            "team_id": "t-1",
            "issuer_id": "iss-local",
            "renewal_policy_id": "rp-default",
            "certificates": [{"pem": one} for one in pems],
        }
        return cost(f"import of {len(pems)}", lambda: api.made("/api/v1/certificates/import", body))

    first, *pems = fleet(12)
    ask([first])  # makes the CA
    one = ask(pems[:1])
    assert ask(pems[1:]) == one <= 16


def test_a_limited_key_costs_no_more_to_list_for(api: Api) -> None:
    """Limits are conditions of the statements that page and count."""
    agent = api.agent()
    api.certificate(api.target(agent))
    api.issue(agent, "mc-site")
    limits = {"team_ids": ["t-1", "t-2"], "environments": ["", "production"]}
    api.made("/api/v1/teams", {"id": "t-2", "name": "others"})
    wide, narrow = (
        api.made("/api/v1/api-keys", {"name": name, "role": "viewer", **given})["key"]
        for name, given in (("wide", {}), ("narrow", limits))
    )
    for key in (wide, narrow):
        api.get("/api/v1/auth/check", by=key)  # its first use is noted
    for what in (
        "certificates",
        "jobs",
        "issuers",
        "targets",
        "agents",
        "owners",
        "teams",
        "approvals",
        "health-checks",
    ):
        costs = [cost(f"{what} by {key[:8]}", lambda: api.get(f"/api/v1/{what}", by=key)) for key in (wide, narrow)]  # noqa: B023
        assert costs[0] == costs[1], what
    costs = [cost("summary", lambda: api.get("/api/v1/stats/summary", by=key)) for key in (wide, narrow)]  # noqa: B023
    assert costs[0] == costs[1]
