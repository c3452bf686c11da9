# ruff: noqa: N999 - `bench import` is what it is called by
"""Ten thousand certificates imported into a fleet, over HTTPS: `python -m bench import`.

The client is the simplest there can be: one connection, one request after the other, each as large as the server takes.
Each certificate has a key, a name and an issuer above it, as files on servers have.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from bench.report import Figure
from bench.server import Client, Server
from bench.suite import Suite

COUNT: Final = 10_000
GOAL: Final = 60.0
MOST: Final = 500
ROOM: Final = 1_000_000
"""Bytes of certificates in a request, of the 1 MiB that a server takes by default."""

_PATH: Final = "/api/v1/certificates/import"


def run(suite: Suite) -> None:
    report = suite.report("Import")
    requests = list(_batches(_certificates(COUNT)))
    with suite.fleet.copy(suite.place) as fleet, Server(fleet, "web") as server, server.client() as client:
        for what, wanted in (("imported", COUNT), ("skipped, being there already", 0)):
            before, began = server.usage(), time.monotonic()
            imported = sum(_send(client, pems) for pems in requests)
            spent = time.monotonic() - began
            assert imported == wanted, f"{imported} of {wanted} were imported"
            usage = server.usage().since(before).each(len(requests))
            more = f"{COUNT / spent:,.0f} a second, {len(requests)} requests"
            report.add(Figure(what=f"{COUNT:,} {what}", value=spent, unit="s", goal=GOAL, usage=usage, more=more))
        memory = max(one.peak for one in server.memory() if "gunicorn" in one.name or "certctl" in one.name)
        report.add(Figure(what="largest process of ours", value=memory, unit="MB", goal=200))


def _send(client: Client, pems: Sequence[str]) -> int:
    body = {
        "owner_id": "o-0001",
        "team_id": "t-001",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-01",
        "certificates": [{"pem": pem} for pem in pems],
    }
    reply = client.ask("POST", _PATH, body)
    assert reply.status == 200, f"{reply.status} {reply.body[:300]!r}"
    answer: dict[str, Any] = reply.json
    assert answer["total_failed"] == 0, answer["failed"][:3]
    return int(answer["total_imported"])


def _batches(pems: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    size = 0
    for pem in pems:
        room = len(pem) + pem.count("\n") + 16  # as JSON
        if batch and (len(batch) == MOST or size + room > ROOM):
            yield batch
            batch, size = [], 0
        batch.append(pem)
        size += room
    yield batch


def _certificates(count: int) -> Iterator[str]:
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = "ca.example.org"
    above = _signed(issuer, issuer, authority.public_key(), authority, ca=True)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    for number in range(count):
        leaf = _signed(f"import-{number:05}.example.org", issuer, key, authority)
        yield "".join(one.public_bytes(Encoding.PEM).decode() for one in (leaf, above))


def _signed(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    serial = x509.random_serial_number()
    names = [x509.DNSName(subject), x509.DNSName(f"www.{subject}")]
    return (
        x509.CertificateBuilder(_name(issuer), _name(subject), key, serial, now, now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
