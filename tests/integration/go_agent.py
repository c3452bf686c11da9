"""The established agent, which is written in Go, as its wire contract describes it: a stand-in to try our server with.

It does what that agent does, its mistakes included: a JSON Content-Type on every call, none of our extra fields, a key
file that is overwritten before its certificate is there, IP addresses and URIs as DNS names in the CSR, no look at what
a report is answered with, empty fingerprints when nothing answers the probe.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

END = "-----END CERTIFICATE-----"


class Response(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def content(self) -> bytes: ...


Send = Callable[[str, str, Mapping[str, str], bytes], Response]
Probe = Callable[[str, int], str]


class Failed(Exception):
    """What the agent writes into the job's error."""


class Retired(Exception):
    """It was told 410 and ends."""


@frozen
class Call:
    method: str
    path: str
    body: Any
    status: int


@define
class GoAgent:
    """`probe` gives the fingerprint served at a host and port, or raises OSError. `commands` are those it was told to
    run, `calls` those it made."""

    send: Send
    agent_id: str
    api_key: str
    key_dir: Path
    probe: Probe
    failures: int = 0
    commands: list[str] = field(factory=list)
    calls: list[Call] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.key_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.key_dir.chmod(0o700)

    def tick(self) -> None:
        """One heartbeat and one poll."""
        self._counted(self._heartbeat)
        self._counted(self._poll)

    def _counted(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Failed:
            self.failures += 1
        else:
            self.failures = 0

    def _call(self, method: str, path: str, body: Any = None) -> Response:
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Content-Type": "application/json",
            "User-Agent": "Go-http-client/1.1",
            "Accept-Encoding": "gzip",
        }
        sent = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        answer = self.send(method, path, headers, sent)
        self.calls.append(Call(method, path, body, answer.status))
        return answer

    # Calls 1 and 2

    def _heartbeat(self) -> None:
        said = {
            "version": "1.0.0",
            "hostname": "web-1",
            "os": "linux",
            "architecture": "amd64",
            "ip_address": "192.0.2.7",
        }
        self._must_be_200(self._call("POST", f"/api/v1/agents/{self.agent_id}/heartbeat", said))

    def _poll(self) -> None:
        answer = self._must_be_200(self._call("GET", f"/api/v1/agents/{self.agent_id}/work"))
        told = json.loads(answer.content)
        if told["count"] == 0:
            return
        for job in told["jobs"]:
            item = _decoded(job)
            if item["status"] == "AwaitingCSR":
                self._attempt(item, self._request)
            elif item["type"] == "Deployment":
                self._attempt(item, self._deploy)

    def _must_be_200(self, answer: Response) -> Response:
        if answer.status == 410:
            raise Retired
        if answer.status != 200:
            raise Failed(f"status {answer.status}")
        return answer

    def _attempt(self, item: Mapping[str, Any], flow: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            flow(item)
        except Failed as failure:
            self._report(item, {"status": "Failed", "error": str(failure)})

    def _report(self, item: Mapping[str, Any], said: Mapping[str, str]) -> None:
        self._call("POST", f"/api/v1/agents/{self.agent_id}/jobs/{item['id']}/status", said)

    # Call 3

    def _request(self, item: Mapping[str, Any]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(
            self._key_file(item),
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            0o600,
        )
        if not item["common_name"]:
            raise Failed("empty common name")
        sent = {"csr_pem": _csr(key, item["common_name"], item["sans"]), "certificate_id": item["certificate_id"]}
        answer = self._call("POST", f"/api/v1/agents/{self.agent_id}/csr", sent)
        if answer.status != 202:
            raise Failed(f"CSR rejected: {answer.content.decode()}")

    # Calls 4 to 6

    def _deploy(self, item: Mapping[str, Any]) -> None:
        self._report(item, {"status": "Running"})
        answer = self._call("GET", f"/api/v1/agents/{self.agent_id}/certificates/{item['certificate_id']}")
        if answer.status != 200:
            raise Failed(f"cert fetch failed: status {answer.status}")
        leaf, end, rest = json.loads(answer.content)["certificate_pem"].partition(END)
        certificate, chain = f"{leaf}{end}\n", rest.strip()
        try:
            key = self._key_file(item).read_text()
        except OSError as problem:
            raise Failed(f"key read failed: {problem}") from problem
        if item["target_type"]:
            if item["target_type"] != "NGINX":
                raise Failed(f"connector init failed: unsupported target type: {item['target_type']}")
            self._nginx(item["target_config"], certificate, chain, key)
            self._verify(item, certificate)
        self._report(item, {"status": "Completed"})

    def _nginx(self, config: Mapping[str, Any], certificate: str, chain: str, key: str) -> None:
        names = ("cert_path", "key_path", "chain_path", "reload_command", "validate_command")
        known = {name: config.get(name) or "" for name in names}
        if not all(isinstance(value, str) for value in known.values()):
            raise Failed("connector init failed: json: cannot unmarshal into Go struct field of type string")
        self._write(Path(known["cert_path"]), certificate.encode(), 0o644)
        if known["chain_path"]:
            self._write(Path(known["chain_path"]), chain.encode(), 0o644)
        if known["key_path"] and key:
            self._write(Path(known["key_path"]), key.encode(), 0o600)
        self.commands += [known["validate_command"], known["reload_command"]]

    def _verify(self, item: Mapping[str, Any], certificate: str) -> None:
        config = item["target_config"]
        hosts = (config.get(name) for name in ("host", "hostname", "target", "address"))
        host: str = next((one for one in hosts if isinstance(one, str) and one), "")
        if not (host and item["target_id"]):
            return
        port = config.get("port")
        expected = hashlib.sha256(x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER))
        said = {
            "target_id": item["target_id"],
            "expected_fingerprint": expected.hexdigest(),
            "actual_fingerprint": "",
            "verified": False,
            "error": "",
        }
        try:
            seen = self.probe(host, port if isinstance(port, int) and 1 <= port <= 65535 else 443)
            said |= {"actual_fingerprint": seen, "verified": seen == expected.hexdigest()}
        except OSError as problem:
            said |= {"expected_fingerprint": "", "error": f"TLS dial failed: {problem}"}
        self._call("POST", f"/api/v1/jobs/{item['id']}/verify", said)

    # Files

    def _key_file(self, item: Mapping[str, Any]) -> Path:
        return self.key_dir / f"{item['certificate_id']}.key"

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)


def _decoded(job: Mapping[str, Any]) -> dict[str, Any]:
    """As Go decodes it: of the type that the field has there, or not at all; unknown members are passed over."""
    item: dict[str, Any] = {
        "common_name": "",
        "sans": [],
        "target_id": "",
        "target_type": "",
        "target_config": {},
        "status": "",
    }
    item |= {name: value for name, value in job.items() if value is not None}
    for name in ("id", "type", "certificate_id", "common_name", "target_id", "target_type", "status"):
        assert isinstance(item[name], str), f"json: cannot unmarshal {name} into a string"
    assert isinstance(item["sans"], list)
    assert all(isinstance(san, str) for san in item["sans"])
    assert isinstance(item["target_config"], dict)
    return item


def _csr(key: ec.EllipticCurvePrivateKey, common_name: str, sans: list[str]) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    if sans:
        names = [x509.RFC822Name(san) if "@" in san else x509.DNSName(san) for san in sans]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def same_key(key_pem: bytes, certificate_pem: bytes) -> bool:
    """Whether a key file and a certificate file belong together."""
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private_key = load_pem_private_key(key_pem, password=None)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return private_key.public_key().public_bytes(*spki) == certificate.public_key().public_bytes(*spki)
