"""Two servers and three workers at one PostgreSQL: everything is done, and everything is done once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from demo.processes import Program, certctl, free_port, wait_for
from demo.rest import Api

from certctl_core.pki import bundle, ca, csr, keys
from certctl_core.pki.keys import KeyKind

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

CERTIFICATES = 200
CRASH_EVERY = 15
"""One server dies over and over, each time with a CSR that it has not had signed."""

WATCH_LOOPS = """
    CREATE TABLE loop_watch (seq bigserial PRIMARY KEY, name text NOT NULL, began boolean NOT NULL);
    CREATE FUNCTION watch_loop() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.last_started_at IS DISTINCT FROM OLD.last_started_at THEN
            INSERT INTO loop_watch (name, began) VALUES (NEW.name, true);
        ELSIF NEW.last_finished_at IS DISTINCT FROM OLD.last_finished_at THEN
            INSERT INTO loop_watch (name, began) VALUES (NEW.name, false);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER watch_loop AFTER UPDATE ON scheduler_loops FOR EACH ROW EXECUTE FUNCTION watch_loop();
"""


class Fleet:
    """Two servers, one of which keeps crashing, and three workers."""

    def __init__(self, home: Path, database_url: str, programs: ExitStack) -> None:
        self.database_url = database_url
        self._home = home
        self._programs = programs
        self.steady = self.server("steady")
        self.key = wait_for("the first key", lambda: self._printed_key("steady"))
        with self.database() as database:
            database.execute(WATCH_LOOPS)
        self.shaky = self.server("shaky", CERTCTL_TRIPWIRE=f"issue:1:{CRASH_EVERY}")
        for number in range(3):
            self._start("worker", f"worker-{number}", {})

    def ca_files(self) -> dict[str, str]:
        """A CA with its key in files that all of them can read."""
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        authority = ca.create_root("CA in files", KeyKind.ECDSA_P256, start, timedelta(days=3650))
        certificate, key = self._home / "ca.pem", self._home / "ca.key"
        certificate.write_text(bundle.to_pem(authority.certificate))
        key.write_text(keys.to_pem(authority.private_key))
        return {"ca_cert_path": str(certificate), "ca_key_path": str(key)}

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database_url, autocommit=True)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.database() as database:
            return database.execute(statement.encode()).fetchall()

    def server(self, name: str, **more: str) -> Api:
        port = free_port()
        program = self._start("web", name, {"CERTCTL_SERVER_PORT": str(port), **more})
        api = Api(f"https://127.0.0.1:{port}", self._home / name / "tls" / "ca.pem")

        def is_ready() -> bool | None:
            program.must_run()
            try:
                return True if api.raw("GET", "/ready")[0] == 200 else None
            except OSError:
                return None

        wait_for(f"the readiness of {name}", is_ready)
        return api

    def _start(self, part: str, name: str, more: dict[str, str]) -> Program:
        environment = {
            "CERTCTL_DATA_DIR": str(self._home / name),
            "CERTCTL_DATABASE_URL": self.database_url,
            "CERTCTL_CONFIG_ENCRYPTION_KEY": "a passphrase of the tests",
            "CERTCTL_DATABASE_MAX_CONNS": "8",
            "CERTCTL_RATE_LIMIT_ENABLED": "false",
            "CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s",
            "CERTCTL_SCHEDULER_RETRY_INTERVAL": "1s",
            "CERTCTL_SHORT_LIVED_EXPIRY_CHECK_INTERVAL": "1s",
            "CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL": "1s",
            "CERTCTL_JOB_LEASE": "2s",
            **more,
        }
        program = Program(name, certctl("certctl_web", part), self._home / f"{name}.log", environment)
        program.start()
        self._programs.callback(program.stop)
        return program

    def _printed_key(self, name: str) -> str | None:
        words = (self._home / f"{name}.log").read_text().split()
        return next((word for word in words if word.startswith("cck_")), None)


@pytest.fixture
def fleet(tmp_path: Path, empty_database_url: str) -> Iterator[Fleet]:
    with ExitStack() as programs:
        yield Fleet(tmp_path, empty_database_url, programs)


def test_two_servers_and_three_workers_issue_each_of_200_certificates_once(fleet: Fleet) -> None:
    admin = Api(fleet.steady.url, fleet.steady.ca_file, fleet.key)
    admin.post("/api/v1/teams", {"id": "t-1", "name": "team"})
    admin.post("/api/v1/owners", {"id": "o-1", "name": "owner", "team_id": "t-1"})
    token = admin.post("/api/v1/agents/join-tokens", {})["token"]
    joined = fleet.steady.post("/api/v1/agents/join", {"token": token, "name": "agent", "hostname": "host"})
    settings = {"cert_path": "/srv/site.pem", "key_path": "/srv/site.key"}
    target = admin.post(
        "/api/v1/targets", {"name": "t", "type": "NGINX", "agent_id": joined["agent_id"], "config": settings}
    )["id"]
    admin.post("/api/v1/issuers", {"id": "iss-files", "name": "Files", "type": "GenericCA", "config": fleet.ca_files()})

    def ask_for(number: int) -> str:
        name = f"site-{number}.example.test"
        wish = {
            "name": name,
            "common_name": name,
            "owner_id": "o-1",
            "team_id": "t-1",
            # A CA in files is opened each time, and never at hand: what is claimed for it, and left by a server that
            # died, is taken over by a worker. For the other one the CSR is handed in again.
            "issuer_id": "iss-files" if number % 2 else "iss-local",
            "renewal_policy_id": "rp-default",
            "target_ids": [target],
        }
        certificate = str(admin.post("/api/v1/certificates", wish)["id"])
        admin.post(f"/api/v1/certificates/{certificate}/renew", {})
        request = csr.build(keys.generate(KeyKind.ECDSA_P256), name, ())
        body = {"certificate_id": certificate, "csr_pem": request.public_bytes(Encoding.PEM).decode()}
        # The same CSR goes to both servers at once: an agent that got no answer cannot know who has it.
        apis = [Api(server.url, server.ca_file, joined["api_key"]) for server in (fleet.steady, fleet.shaky)]
        with ThreadPoolExecutor(len(apis)) as both:
            list(both.map(lambda api: _submit(api, joined["agent_id"], body), apis))
        return certificate

    with ThreadPoolExecutor(6) as people:
        certificates = list(people.map(ask_for, range(CERTIFICATES)))

    def issued() -> bool | None:
        ((count,),) = fleet.rows("SELECT count(*) FROM managed_certificates WHERE status = 'Active'")
        return True if count == CERTIFICATES else None

    wait_for("all certificates", issued, patience=120, pause=0.5)
    per_certificate = dict(fleet.rows("SELECT certificate_id, count(*) FROM certificate_versions GROUP BY 1"))
    assert per_certificate == dict.fromkeys(certificates, 1)
    ((serials,),) = fleet.rows("SELECT count(DISTINCT serial_number) FROM certificate_versions")
    assert serials == CERTIFICATES
    ((attempts,),) = fleet.rows("SELECT count(*) FROM issuance_attempts")
    assert attempts == CERTIFICATES
    ((deployments,),) = fleet.rows("SELECT count(*) FROM jobs WHERE type = 'Deployment'")
    assert deployments == CERTIFICATES
    ((released,),) = fleet.rows("SELECT count(*) FROM audit_events WHERE action = 'job_released'")
    assert released > 0, "no server died with a CSR in its hands, so the workers had nothing to take over"
    _must_tell_of_a_revocation(fleet, admin, certificates[0])
    _must_never_overlap(fleet.rows("SELECT name, began FROM loop_watch ORDER BY seq"))


def _must_tell_of_a_revocation(fleet: Fleet, admin: Api, certificate: str) -> None:
    """Whichever server was told, both serve the same CRL, and within a minute it lists the serial number."""
    with fleet.database() as database:
        query = "SELECT serial_number FROM certificate_versions WHERE certificate_id = %s"
        ((serial_number,),) = database.execute(query, [certificate]).fetchall()
    admin.post(f"/api/v1/certificates/{certificate}/revoke", {"reason": "superseded"})

    def listed() -> bytes | None:
        status, der = fleet.steady.raw("GET", "/.well-known/pki/crl/iss-local")
        assert status == 200
        known = x509.load_der_x509_crl(der).get_revoked_certificate_by_serial_number(int(serial_number, 16))
        return der if known is not None else None

    der = wait_for("the serial number on the CRL", listed, patience=60, pause=0.5)
    made = fleet.rows(
        "SELECT count(*), count(DISTINCT (issuer_id, crl_number)) FROM crl_generation_events WHERE succeeded"
    )
    assert made[0][0] == made[0][1], "a CRL number was given twice"
    fresh = fleet.server("fresh")
    assert fresh.raw("GET", "/.well-known/pki/crl/iss-local") == (200, der)


def _submit(api: Api, agent: str, body: dict[str, str]) -> None:
    """Submit until some server has taken it, as an agent does."""

    def answered() -> int | None:
        try:
            return api.call("POST", f"/api/v1/agents/{agent}/csr", body) and 202
        except OSError:
            return None

    wait_for("an answer to the CSR", answered, pause=0.2)


def _must_never_overlap(watched: list[tuple[Any, ...]]) -> None:
    """Begin and end of each loop take turns."""
    running: dict[str, bool] = {}
    ran = 0
    for name, began in watched:
        assert running.get(name, False) is not began, f"{name} ran twice at once"
        running[name] = began
        ran += began
    assert ran > 10
