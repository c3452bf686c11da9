"""A client of EST: the five operations of RFC 7030, as RFC 8951 clarifies them, asked of one label of a server.

HTTPS with TLS 1.3. Who asks is shown by a password (HTTP Basic), by a TLS client certificate, by both or by neither, as
the label wants it.
"""

import base64
import email
import email.policy
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.http import TIMEOUT, Answer, HttpClient, retry_after, trust
from certctl_core.errors import Invalid, TooLarge, Unreadable
from certctl_core.pki import est_answers
from certctl_core.pki.est_answers import SealedKey, Wanted

_PATH: Final = "/.well-known/est"
_REQUEST: Final = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
_PATIENCE: Final = 60
"""Seconds to wait when a server does not say how long."""


@frozen(kw_only=True)
class Credentials:
    """Who asks. `certificate` and `key` are PEM files, and go together; `password` None is none."""

    user: str = ""
    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None


@frozen
class Later:
    """There is no certificate yet: the same request, sent again after so many seconds, may be answered with it."""

    seconds: int


class EstClient:
    """One label. `close` it. Its calls raise what a refusal means, `UpstreamUnavailable` when no answer comes, and
    `TooLarge` and `Unreadable` for an answer that is none of EST."""

    def __init__(
        self,
        url: str,
        label: str = "",
        credentials: Credentials | None = None,
        *,
        ca_bundle: bytes | None = None,
        timeout: timedelta = TIMEOUT,
    ) -> None:
        """`ca_bundle` are the only CAs to believe, PEM; without it those of the machine. Raises `Invalid`."""
        if not url.lower().startswith("https://"):
            raise Invalid(f"{url!r} is not an https URL", hint="It looks like https://certctl.example.com:8443.")
        shown = credentials or Credentials()
        tls = trust(ca_bundle, minimum=ssl.TLSVersion.TLSv1_3)
        if shown.certificate is not None and shown.key is not None:
            _show(tls, shown.certificate, shown.key)
        headers = {}
        if shown.password is not None:
            pair = base64.b64encode(f"{shown.user}:{shown.password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        self._http = HttpClient(url.rstrip("/"), tls=tls, headers=headers, timeout=timeout)
        self._path = f"{_PATH}/{quote(label, safe='')}" if label else _PATH

    def close(self) -> None:
        self._http.close()

    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """The CAs of what is issued (section 4.1)."""
        return est_answers.read_certificates(self._ask("GET", "cacerts").body)

    def csr_attributes(self) -> tuple[Wanted, ...]:
        """What a CSR should have (section 4.5); nothing where the server has nothing to say."""
        answer = self._ask("GET", "csrattrs")
        return est_answers.read_wanted(answer.body) if answer.status == 200 else ()

    def enrol(self, csr: x509.CertificateSigningRequest) -> tuple[x509.Certificate, ...] | Later:
        """The certificate (section 4.2.1), first, and whatever came with it."""
        return self._issued("simpleenroll", csr)

    def renew(self, csr: x509.CertificateSigningRequest) -> tuple[x509.Certificate, ...] | Later:
        """The next one of the certificate that is shown in TLS (section 4.2.2)."""
        return self._issued("simplereenroll", csr)

    def make_key(self, csr: x509.CertificateSigningRequest) -> SealedKey:
        """A key made by the server, for the holder of the certificate that is shown in TLS (section 4.4)."""
        answer = self._ask("POST", "serverkeygen", csr)
        return read_sealed_key(answer.headers.get("content-type", ""), answer.body)

    def _issued(self, operation: str, csr: x509.CertificateSigningRequest) -> tuple[x509.Certificate, ...] | Later:
        answer = self._ask("POST", operation, csr)
        if answer.status == 202:
            return Later(retry_after(answer) or _PATIENCE)
        return est_answers.read_certificates(answer.body)

    def _ask(self, method: str, operation: str, csr: x509.CertificateSigningRequest | None = None) -> Answer:
        content = None if csr is None else base64.b64encode(csr.public_bytes(Encoding.DER))
        return self._http.ask(
            method, f"{self._path}/{operation}", content=content, headers=_REQUEST if csr else None, idempotent=False
        )


def read_sealed_key(media_type: str, body: bytes) -> SealedKey:
    """A key and its certificate, in the two parts of a `multipart/mixed` answer (RFC 7030 section 4.4.2). Raises
    `TooLarge` and `Unreadable`."""
    if len(body) > est_answers.MAX_ANSWER_BYTES:
        raise TooLarge(f"the answer is over {est_answers.MAX_ANSWER_BYTES} bytes")
    head = f"Content-Type: {media_type}\r\n\r\n".encode("ascii", "replace")
    try:
        parsed = email.message_from_bytes(head + body, policy=email.policy.compat32)
        parts = [part for part in parsed.walk() if not part.is_multipart()]
        encoded = {part.get_param("smime-type"): str(part.get_payload()).encode("ascii", "replace") for part in parts}
    except (ValueError, LookupError, RecursionError) as problem:
        raise Unreadable("the parts of the answer cannot be told apart") from problem
    if len(parts) != 2 or set(encoded) != {"server-generated-key", "certs-only"}:
        raise Unreadable("the answer has not an enciphered key and a certificate in its two parts")
    return est_answers.read_sealed_key(encoded["server-generated-key"], encoded["certs-only"])


def _show(tls: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        tls.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise Invalid(
            f"{certificate} and {key} cannot be shown in TLS: {why}",
            hint="They are a certificate and its private key in PEM, the key without a password.",
        ) from problem


def _no_password() -> str:
    """Asked for by OpenSSL, which would ask the terminal otherwise."""
    return ""
