"""How fast this machine signs and reads: `python -m bench pki`.

One core, one process. Each row is repeated until its time is over; the CRL rows are done once.
"""

import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding

from bench import fleet
from bench.suite import Suite
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ca, crl, csr, keys, names, ocsp, reading, serials
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, LeafPlan, OcspAnswer, RevokedEntry

NOW = datetime.now(UTC).replace(microsecond=0)
CA_KINDS = (
    KeyKind.ECDSA_P256,
    KeyKind.ECDSA_P384,
    KeyKind.RSA_2048,
    KeyKind.RSA_4096,
    KeyKind.ED25519,
    KeyKind.ML_DSA_44,
    KeyKind.ML_DSA_65,
)
CRL_SIZES = (10_000, 100_000, 1_000_000)
NAMES = ("b.example.com", "192.0.2.1")


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    work()
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        work()
        done += 1
    return done / elapsed


def leaf_plan() -> LeafPlan:
    """A leaf with all extensions."""
    url = "http://pki.example.com/.well-known/pki"
    return LeafPlan(
        common_name="a.example.com",
        sans=names.names_of("a.example.com", NAMES),
        public_key=keys.generate(KeyKind.ECDSA_P256).public_key(),
        serial_number=serials.new_serial(),
        not_before=NOW - timedelta(minutes=5),
        not_after=NOW + timedelta(days=90),
        ekus=("serverAuth", "clientAuth"),
        crl_urls=(f"{url}/crl/iss-local",),
        ocsp_urls=(f"{url}/ocsp/iss-local",),
        ca_issuers_urls=(f"{url}/ca/iss-local",),
    )


def signing_rows(seconds: float) -> Iterator[tuple[str, str, str]]:
    """Leafs and OCSP responses per second, by the key of the CA."""
    plan = leaf_plan()
    answer = OcspAnswer(True, NOW, NOW + timedelta(hours=1))
    for kind in CA_KINDS:
        authority = ca.create_root("Bench", kind, NOW - timedelta(days=1), timedelta(days=3650))
        asked = evolve(ocsp.request_about(authority.certificate, plan.serial_number), nonce=bytes(32))
        responder = ocsp.Responder(authority.certificate, authority.certificate, authority.private_key)
        leafs = rate(lambda: ca.sign_leaf(authority, plan), seconds)  # noqa: B023 - called at once
        answers = rate(lambda: responder.respond(asked, [answer], NOW), seconds)  # noqa: B023
        yield kind.value, f"{leafs:,.0f}", f"{answers:,.0f}"


def reading_rows(seconds: float) -> Iterator[tuple[str, str]]:
    """What is read and checked per second, with P-256 keys."""
    authority = ca.create_root("Bench", KeyKind.ECDSA_P256, NOW - timedelta(days=1), timedelta(days=3650))
    private_key = keys.generate(KeyKind.ECDSA_P256)
    request = csr.build(private_key, "a.example.com", NAMES)
    sent = request.public_bytes(Encoding.DER)
    leaf = ca.sign_leaf(authority, leaf_plan()).public_bytes(Encoding.DER)
    asked = ocsp_request(authority)
    key = keys.to_der(private_key)
    yield "CSR built", f"{rate(lambda: csr.build(private_key, 'a.example.com', NAMES), seconds):,.0f}"
    yield "CSR read and verified", f"{rate(lambda: csr.read(sent), seconds):,.0f}"
    yield (
        "CSR compared with its order",
        f"{rate(lambda: csr.check_matches(request, 'a.example.com', NAMES), seconds):,.0f}",
    )
    yield "certificate read into facts", f"{rate(lambda: reading.facts(reading.certificate(leaf)), seconds):,.0f}"
    yield "OCSP request read", f"{rate(lambda: ocsp.read_request(asked), seconds):,.0f}"
    yield "private key read", f"{rate(lambda: keys.from_der(key), seconds):,.0f}"


def ocsp_request(authority: Authority) -> bytes:
    """A request as clients send it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509 import ocsp as library

    leaf = ca.sign_leaf(authority, leaf_plan())
    builder = library.OCSPRequestBuilder().add_certificate(leaf, authority.certificate, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def crl_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Making a CRL of so many entries with a P-256 CA. Memory is the process's peak so far."""
    authority = ca.create_root("Bench", KeyKind.ECDSA_P256, NOW - timedelta(days=1), timedelta(days=3650))
    reasons = tuple(RevocationReason)
    for size in CRL_SIZES:
        entries = [
            RevokedEntry(serials.new_serial(), NOW - timedelta(seconds=n), reasons[n % len(reasons)])
            for n in range(size)
        ]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        der = crl.sign_crl(authority, CrlPlan(1, NOW, NOW + timedelta(days=1), crl.entries(entries)))
        signed = time.perf_counter() - started
        started = time.perf_counter()
        crl.entry_of(crl.read(der), entries[-1].serial_number)
        looked_up = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = f"{peak // 1024} (+{(peak - before) // 1024})"
        yield f"{size:,}", f"{signed:.2f}", f"{looked_up:.2f}", f"{len(der) / 1e6:.1f}", memory


def table(title: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    """The rows as they come, in columns."""
    widths = [28, *(len(word) + 2 for word in title[1:])]
    print(
        "".join(
            word.ljust(width) if width == 28 else word.rjust(width) for word, width in zip(title, widths, strict=True)
        )
    )
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("".join(cell.ljust(width) if width == 28 else cell.rjust(width) for cell, width in cells), flush=True)
    print()


def run(suite: Suite) -> None:
    """All tables. They are about the machine rather than about the fleet, so nothing is to be reached."""
    seconds = 1.0 if suite.size >= fleet.SIZE else 0.2
    table(("CA key", "leafs/s", "OCSP responses/s"), signing_rows(seconds))
    table(("P-256", "per second"), reading_rows(seconds))
    table(("CRL entries", "made in s", "read and found in s", "size in MB", "peak memory in MB"), crl_rows())
