"""EST: devices that enrol, each with a key of its own, all on record: `python -m bench est`.

Connections are kept, as a device's is while it asks for CA certificates, enrols and is answered. Each request shows a
shared enrolment secret, so that it is looked up and noted as used. What is malformed is measured over the same
connections: it has to be refused before it costs anything, and nothing is stored of it.
"""

import base64
import secrets
from collections.abc import Iterator
from typing import Final

import psycopg
from cryptography.hazmat.primitives.serialization import Encoding

from bench import load
from bench.report import Figure
from bench.server import Server
from bench.suite import Suite
from certctl_core.pki import csr, keys
from certctl_core.pki.keys import KeyKind

ENROLLED: Final = 200.0
DEVICES: Final = 3_000
MALFORMED: Final = 3_000
MALFORMED_COSTS: Final = 1.0
CONNECTIONS: Final = 32
PATH: Final = "/.well-known/est/simpleenroll"


def run(suite: Suite) -> None:
    settings = {
        "CERTCTL_EST_ENABLED": "true",
        "CERTCTL_EST_OWNER_ID": "o-0001",
        "CERTCTL_EST_TEAM_ID": "t-001",
        "CERTCTL_EST_PROFILE_ID": "prof-01",
    }
    with suite.fleet.copy(suite.place) as fleet, Server(fleet, environment=settings) as server:
        report = suite.report("EST: a device's CSR in, its certificate out, everything on record (P-256)")
        shown = _secret(server)
        load.run(server, enrolments(300, shown), connections=16)  # Connections and plans are made.
        requests = list(enrolments(DEVICES, shown))
        before = _certificates(server)
        outcome = load.run(server, requests, connections=CONNECTIONS)
        report.add(outcome.rate("simpleenroll", ENROLLED))
        assert outcome.statuses == {200: DEVICES}, outcome.statuses
        assert _certificates(server) == before + DEVICES, "each is in the inventory"
        refused = load.run(server, list(malformed(MALFORMED, shown)), connections=CONNECTIONS)
        assert _certificates(server) == before + DEVICES, "nothing is stored"
        used = refused.usage.each(MALFORMED)
        costs = (used.programs + used.database) * 1000
        report.add(Figure(what="processor time of a malformed request", value=costs, goal=MALFORMED_COSTS, usage=used))
        for figure in load.memory(server):
            report.add(figure)


def enrolments(count: int, shown: str) -> Iterator[bytes]:
    """CSRs of so many devices, each with a key and a name of its own."""
    for _ in range(count):
        name = f"device-{secrets.token_hex(6)}.example.com"
        made = csr.build(keys.generate(KeyKind.ECDSA_P256), name, ())
        yield _request(base64.b64encode(made.public_bytes(Encoding.DER)), shown)


def malformed(count: int, shown: str) -> Iterator[bytes]:
    """What looks like a CSR until it is parsed."""
    for number in range(count):
        yield _request(base64.b64encode(b"\x30\x82\x01\x00" + number.to_bytes(4, "big") * 64), shown)


def _request(body: bytes, shown: str) -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {shown}\r\n"
        f"Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _secret(server: Server) -> str:
    """A shared enrolment secret, as HTTP Basic shows it."""
    with server.client() as client:
        asked = {"protocol": "EST", "single_use": False}
        made = client.ask("POST", "/api/v1/enrolment-secrets", asked)
    assert made.status == 201, made.body
    return base64.b64encode(f"device:{made.json['secret']}".encode()).decode()


def _certificates(server: Server) -> int:
    with psycopg.connect(server.database) as connection:
        row = connection.execute(b"SELECT count(*) FROM managed_certificates WHERE source = 'EST'").fetchone()
    return int(row[0]) if row else 0
