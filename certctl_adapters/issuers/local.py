"""The Local CA: certctl itself signs, with a root of its own or as a sub-CA of yours.

Signing, CRLs and OCSP happen in this process (`certctl_core.pki`). Revocation has nobody to be told: CRL and OCSP are
made from our own records.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_adapters.settings import Must, absolute_path, between, http_url, setting, settings
from certctl_core.errors import (
    CertctlError,
    FieldProblem,
    Invalid,
    NotConfigured,
    NotFound,
    Refused,
    TooLarge,
    UpstreamRejected,
)
from certctl_core.pki import ca, crl, delegate, keys, ocsp, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.names import MAX_COMMON_NAME
from certctl_core.pki.plan import CrlPlan, DelegatePlan, OcspAnswer, OcspQuestion
from certctl_core.ports.issuer import (
    AnswersOcsp,
    AuthorityFacts,
    CertifiesDelegates,
    Issued,
    Issuer,
    IssueRequest,
    ShowsChain,
    SignsCrls,
)

ROOT_LIFETIME: Final = timedelta(days=3650)
BACKDATE: Final = timedelta(minutes=10)
"""A root begins before the first leaf it signs, whose notBefore is backdated by less."""

_common_name = Must(
    f"have 1 to {MAX_COMMON_NAME} characters",
    lambda value: 1 <= len(value.strip()) <= MAX_COMMON_NAME,
    {"minLength": 1, "maxLength": MAX_COMMON_NAME},
)
_http_urls = Must("be http or https URLs", lambda value: all(http_url.holds(url) for url in value))


@settings
class LocalSettings:
    """A CA of certctl's own. Its root and key are made at first use and kept sealed in the database."""

    ca_common_name: str = setting(
        help="Common name of the root. Read when the root is made; an existing root keeps its name.",
        default="CertCtl Local CA",
        check=_common_name,
    )
    validity_days: int = setting(
        help="Lifetime of certificates in days; profiles may shorten it.", default=90, check=between(1, 3650)
    )
    ca_key_algorithm: KeyKind = setting(help="Key of the root. Read when the root is made.", default=KeyKind.ECDSA_P256)
    ca_cert_path: str = setting(
        help="PEM file of a CA certificate to sign with as a sub-CA, followed by the certificates above it. "
        "Empty: certctl makes a root of its own.",
        default="",
        check=absolute_path,
    )
    ca_key_path: str = setting(
        help="PEM file of the sub-CA's private key (PKCS #8, SEC1 or PKCS #1, not encrypted).",
        default="",
        check=absolute_path,
    )
    crl_distribution_point_urls: tuple[str, ...] = setting(
        help="CRL addresses in certificates, instead of the control plane's own.", default=(), check=_http_urls
    )

    def problems(self) -> Iterator[FieldProblem]:
        """The two files go together."""
        if bool(self.ca_cert_path) != bool(self.ca_key_path):
            missing = "ca_key_path" if self.ca_cert_path else "ca_cert_path"
            yield FieldProblem(missing, "is needed, because a sub-CA has a certificate and a key")


@frozen
class LocalIssuer(Issuer, ShowsChain, SignsCrls, AnswersOcsp, CertifiesDelegates):
    """Signs with `authority`. The same request gives the same certificate again."""

    settings: LocalSettings
    authority: Authority

    def issue(self, request: IssueRequest) -> Issued:
        """Signs the plan, made to lie within the CA's own validity. The root is not in the chain: who trusts it has it
        (RFC 8446 section 4.4.2)."""
        plan = request.plan
        plan = evolve(
            plan,
            not_before=max(plan.not_before, self.authority.certificate.not_valid_before_utc),
            not_after=min(plan.not_after, self.authority.certificate.not_valid_after_utc),
            crl_urls=self.settings.crl_distribution_point_urls or plan.crl_urls,
        )
        try:
            return Issued(ca.sign_leaf(self.authority, plan), self._intermediates())
        except (Invalid, Refused) as problem:
            raise UpstreamRejected(
                f"the Local CA does not sign this: {problem.message}", hint=problem.hint
            ) from problem

    def _intermediates(self) -> tuple[x509.Certificate, ...]:
        return tuple(one for one in self.authority.chain if one.issuer != one.subject)

    def chain(self) -> Sequence[x509.Certificate]:
        return self.authority.chain

    def authorities(self) -> Sequence[AuthorityFacts]:
        return (AuthorityFacts(self.authority.key_identifier.hex(), self.authority.chain),)

    def sign_crl(self, plan: CrlPlan, authority: bytes | None = None) -> bytes:
        if authority not in (None, self.authority.key_identifier):
            raise NotFound(f"the issuer has no CA whose key identifier is {authority.hex()}")
        return crl.sign_crl(self.authority, plan)

    def answer_ocsp(self, question: OcspQuestion, answer: OcspAnswer) -> bytes:
        """What is asked about another CA's certificate is answered `unauthorized` (RFC 5019 section 2.2.3)."""
        if not ocsp.question_matches(self.authority, question):
            return ocsp.unsuccessful(ocsp.Unsuccessful.UNAUTHORIZED)
        return ocsp.sign_response(self.authority, question, answer)

    def certify_delegate(self, plan: DelegatePlan, authority: bytes | None = None) -> x509.Certificate:
        if authority not in (None, self.authority.key_identifier):
            raise NotFound(f"the issuer has no CA whose key identifier is {authority.hex()}")
        return delegate.certify(self.authority, plan)


def connect(chosen: LocalSettings, keep: Callable[[Callable[[], Authority]], Authority], now: datetime) -> LocalIssuer:
    """The Local CA of these settings. `keep` gives the stored root, made by its argument when there is none yet.

    Raises `NotConfigured` naming the setting when files are missing or hold no usable CA, or the CA has expired.
    """
    if chosen.ca_cert_path:
        authority = _from_files(Path(chosen.ca_cert_path), Path(chosen.ca_key_path))
    else:
        authority = keep(lambda: make_root(chosen, now))
    try:
        authority.require_valid(now)
    except Invalid as problem:
        raise NotConfigured(
            problem.message, hint="Replace the CA, or point certificates at another issuer."
        ) from problem
    return LocalIssuer(chosen, authority)


def make_root(chosen: LocalSettings, now: datetime) -> Authority:
    """A fresh root as the settings describe it."""
    starts = now.astimezone(UTC).replace(microsecond=0) - BACKDATE
    return ca.create_root(chosen.ca_common_name, chosen.ca_key_algorithm, starts, ROOT_LIFETIME)


def _from_files(certificate_path: Path, key_path: Path) -> Authority:
    certificates = _read("ca_cert_path", certificate_path, reading.MAX_BUNDLE_BYTES)
    private_key = _read("ca_key_path", key_path, keys.MAX_KEY_BYTES)
    try:
        return _opened(certificates, private_key)
    except CertctlError as problem:
        raise NotConfigured(
            f"{certificate_path} and {key_path} are no CA to sign with: {problem.message}",
            hint="ca_cert_path needs a CA certificate with keyCertSign, ca_key_path its private key.",
        ) from problem


def _read(name: str, path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as problem:
        raise NotConfigured(f"{name}: {path} cannot be read: {problem.strerror}") from problem
    if len(data) > limit:
        raise TooLarge(f"{name}: {path} is over {limit} bytes")
    return data


@lru_cache(maxsize=8)
def _opened(certificates: bytes, private_key: bytes) -> Authority:
    """Parsed once for the same bytes: a large RSA key takes longer to load than to sign with."""
    return Authority(reading.certificates(certificates, limit=ca.MAX_CHAIN), keys.from_pem(private_key))
