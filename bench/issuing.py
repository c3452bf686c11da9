"""From a CSR to a certificate that is stored and about to be deployed: `python -m bench issuing`.

One request for each CSR, and many CSRs of one agent in a request. Beside them what the same machine does of the parts
alone: checking a CSR and signing its certificate in one process, and the rows of one certificate written by the
database with nothing else to do.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import psycopg
from cryptography.hazmat.primitives.serialization import Encoding

from bench import load
from bench.pki import leaf_plan
from bench.report import Figure
from bench.server import Server
from bench.suite import Suite
from certctl_core.pki import ca, csr, keys
from certctl_core.pki.keys import KeyKind

ONE_BY_ONE: Final = 300.0
TOGETHER: Final = 2200.0
CERTIFICATES: Final = 3_000
BATCH: Final = 100
AGENTS: Final = 64
"""So many come at the same time with one CSR each."""

_ASK: Final = b"""
    WITH chosen AS (
        SELECT c.id, c.common_name, c.sans, t.agent_id
        FROM managed_certificates AS c JOIN deployment_targets AS t ON t.id = c.target_ids[1]
        WHERE c.status = 'Active' AND c.issuer_id = 'iss-local' AND t.enabled AND t.retired_at IS NULL
        ORDER BY t.agent_id, c.id LIMIT %s
    ), begun AS (
        UPDATE managed_certificates AS c SET status = 'RenewalInProgress', renew_at = NULL, revision = revision + 1
        FROM chosen WHERE c.id = chosen.id
    ), asked AS (
        INSERT INTO jobs (id, type, certificate_id, agent_id, status, scheduled_at)
        SELECT 'job-asked-' || gen_random_uuid(), 'Renewal', id, agent_id, 'AwaitingCSR', now() FROM chosen
    )
    SELECT agent_id, id, common_name, sans FROM chosen ORDER BY agent_id, id
"""

Asked = tuple[str, dict[str, str]]
"""An agent and the body of its answer."""


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, Server(fleet) as server:
        report = suite.report("CSR in, certificate stored, deployment job and audit written (P-256)")
        load.run(server, one_by_one(asked(server, 200)), connections=AGENTS)  # Connections and plans are made.
        single = load.run(server, one_by_one(asked(server, CERTIFICATES)), connections=AGENTS)
        report.add(single.rate("one request each", ONE_BY_ONE))
        load.run(server, together(asked(server, 4 * BATCH), BATCH), connections=4)
        batches = list(together(asked(server, CERTIFICATES), BATCH))
        each = CERTIFICATES // len(batches)
        report.add(load.run(server, batches, connections=4, each=each).rate("batches of one agent's CSRs", TOGETHER))
        report.add(signing())
        report.add(rows(server))
        for figure in load.memory(server):
            report.add(figure)


def asked(server: Server, count: int) -> Sequence[Asked]:
    """Have the agents asked for so many CSRs, and make them."""
    key = keys.generate(KeyKind.ECDSA_P256)
    with psycopg.connect(server.database, autocommit=True) as connection:
        # What was issued before is not to be deployed any more.
        connection.execute(b"UPDATE jobs SET status = 'Cancelled' WHERE type = 'Deployment' AND status = 'Pending'")
        chosen = connection.execute(_ASK, [count]).fetchall()
        connection.execute(b"ANALYZE jobs")
    return [
        (
            agent,
            {
                "certificate_id": certificate,
                "csr_pem": csr.build(key, common_name, sans).public_bytes(Encoding.PEM).decode(),
            },
        )
        for agent, certificate, common_name, sans in chosen
    ]


def one_by_one(answers: Sequence[Asked]) -> Iterator[bytes]:
    # Not one agent's after the other: agents work at the same time.
    for agent, body in sorted(answers, key=lambda answer: answer[1]["certificate_id"][::-1]):
        yield load.request("POST", f"/api/v1/agents/{agent}/csr", f"cck_bench-{agent}", body)


def together(answers: Sequence[Asked], most: int) -> Iterator[bytes]:
    for agent, group in groupby(answers, key=lambda answer: answer[0]):
        bodies = [body for _, body in group]
        for start in range(0, len(bodies), most):
            csrs = {"csrs": bodies[start : start + most]}
            yield load.request("POST", f"/api/v1/agents/{agent}/csrs", f"cck_bench-{agent}", csrs)


def signing(seconds: float = 2.0) -> Figure:
    """CSRs read and verified, and leafs signed, by one process."""
    plan = leaf_plan()
    authority = ca.create_root("Bench", KeyKind.ECDSA_P256, plan.not_before, plan.not_after - plan.not_before)
    sent = csr.build(keys.generate(KeyKind.ECDSA_P256), "a.example.com", ["b.example.com"]).public_bytes(Encoding.PEM)
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        csr.read(sent)
        ca.sign_leaf(authority, plan)
        done += 1
    return Figure(what="limit: CSR verified and leaf signed, one core", value=done / seconds, unit="/s")


_ROWS: Final[Sequence[bytes]] = (
    b"""INSERT INTO issuance_attempts (
            id, certificate_id, generation, job_id, agent_id, issuer_id, csr_der, serial_number, not_before, not_after)
        SELECT 'attempt-raw-' || j.certificate_id, j.certificate_id, 1000000, j.id, j.agent_id, 'iss-local',
               v.certificate_der, 'a' || v.serial_number, now(), now()
        FROM jobs AS j JOIN LATERAL (
            SELECT * FROM certificate_versions AS v WHERE v.certificate_id = j.certificate_id LIMIT 1
        ) AS v ON true WHERE j.id LIKE 'job-asked-%%' AND j.status = 'AwaitingCSR'""",
    b"""UPDATE jobs SET status = 'Running', started_at = now(), lease_until = now(), updated_at = now(),
            attempt_id = 'attempt-raw-' || certificate_id
        WHERE id LIKE 'job-asked-%%' AND status = 'AwaitingCSR'""",
    b"""INSERT INTO certificate_versions (
            id, certificate_id, generation, attempt_id, job_id, agent_id, issuer_id, serial_number, not_before,
            not_after, fingerprint_sha256, certificate_der, chain_sha256, csr_der)
        SELECT 'certver-raw-' || j.certificate_id, j.certificate_id, 1000000, j.attempt_id, j.id, j.agent_id,
               'iss-local', 'a' || v.serial_number, now(), now(), encode(sha256(convert_to(j.id, 'UTF8')), 'hex'),
               v.certificate_der, v.chain_sha256, v.certificate_der
        FROM jobs AS j JOIN LATERAL (
            SELECT * FROM certificate_versions AS v WHERE v.certificate_id = j.certificate_id LIMIT 1
        ) AS v ON true WHERE j.id LIKE 'job-asked-%%' AND j.status = 'Running'""",
    b"""UPDATE issuance_attempts SET status = 'Issued', finished_at = now() WHERE id LIKE 'attempt-raw-%%'""",
    b"""UPDATE managed_certificates SET status = 'Active', expires_at = now(), renew_at = now(), updated_at = now()
        WHERE id IN (SELECT certificate_id FROM jobs WHERE id LIKE 'job-asked-%%' AND status = 'Running')""",
    b"""INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, scheduled_at)
        SELECT 'job-raw-' || j.certificate_id, 'Deployment', j.certificate_id, c.target_ids[1], j.agent_id, 'Pending',
               now()
        FROM jobs AS j JOIN managed_certificates AS c ON c.id = j.certificate_id
        WHERE j.id LIKE 'job-asked-%%' AND j.status = 'Running'""",
    b"""INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id)
        SELECT format('audit-raw-%%s-%%s', n, certificate_id), 'bench', 'System', 'bench', 'certificate', certificate_id
        FROM jobs, generate_series(1, 3) AS n WHERE id LIKE 'job-asked-%%' AND status = 'Running'""",
    b"""UPDATE jobs SET status = 'Completed', completed_at = now(), lease_until = NULL, updated_at = now()
        WHERE id LIKE 'job-asked-%%' AND status = 'Running'""",
)


def rows(server: Server, count: int = 2_000) -> Figure:
    """The rows of so many certificates, made inside the database by one statement for each kind of row."""
    asked(server, count)
    with psycopg.connect(server.database) as connection:
        begun, before = time.perf_counter(), server.usage()
        for statement in _ROWS:
            connection.execute(statement, [])
        connection.commit()
        took, usage = time.perf_counter() - begun, server.usage().since(before)
    return Figure(
        what="limit: the rows of a certificate, one connection", value=count / took, unit="/s", usage=usage.each(count)
    )
