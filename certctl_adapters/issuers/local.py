"""The Local CA: certctl itself signs, with a root of its own or as a sub-CA of yours.

Signing, CRLs and OCSP happen in this process (`certctl_core.pki`). Revocation has nobody to be told: CRL and OCSP are
made from our own records.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from attrs import Factory, evolve, field, frozen
from cryptography import x509

from certctl_adapters.authorities import Held, Make
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
from certctl_core.ids import mint
from certctl_core.models.authorities import SEALED, AuthorityState
from certctl_core.pki import ca, cms, crl, delegate, distribution, keys, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.names import MAX_COMMON_NAME
from certctl_core.pki.plan import CaPlan, CrlPlan, DelegatePlan, LeafPlan
from certctl_core.ports.issuer import (
    AuthorityFacts,
    CertifiesCas,
    CertifiesDelegates,
    Issued,
    Issuer,
    IssueRequest,
    ShowsChain,
    SignsCrls,
    SignsMessages,
)
from certctl_core.ports.signer import KeptKey, KeyDrivers

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
    make_root: bool = setting(
        help="Make a root at first use. Otherwise the issuer signs nothing until it is given a CA: an intermediate of "
        "another one, or one whose certificate a foreign CA signs.",
        default=True,
    )
    ca_key_driver_id: str = setting(
        help="Where the key of the root is made: sealed (in the database) or pkcs11 (in the token of the server's "
        "settings). Read when the root is made.",
        default=SEALED,
        check=Must("be sealed or pkcs11", lambda value: value in (SEALED, "pkcs11")),
    )
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
class LocalIssuer(Issuer, ShowsChain, SignsCrls, CertifiesDelegates, CertifiesCas, SignsMessages):
    """Signs leafs with `authority`, and everything else with whichever of its CAs is meant. The same request gives the
    same certificate again, also when another CA has begun to sign new leafs meanwhile."""

    settings: LocalSettings
    authority: Authority
    generations: tuple[Held, ...] = field(default=Factory(lambda self: (_alone(self.authority),), takes_self=True))

    @property
    def is_in_memory(self) -> bool:
        """Whether signing waits for no device."""
        return all(one.is_in_memory for one in self.generations)

    def issue(self, request: IssueRequest) -> Issued:
        """Signs the plan, made to lie within the CA's own validity. The root is not in the chain: who trusts it has it
        (RFC 8446 section 4.4.2)."""
        held, plan = self._signing_at(request.ordered_at), request.plan
        plan = evolve(
            plan,
            not_before=max(plan.not_before, held.authority.certificate.not_valid_before_utc),
            not_after=min(plan.not_after, held.authority.certificate.not_valid_after_utc),
            crl_urls=() if plan.is_short_lived else self._crl_urls(held, plan),
            ocsp_urls=(held.ocsp_url,) if held.ocsp_url and not plan.is_short_lived else plan.ocsp_urls,
            ca_issuers_urls=self._addresses(held, plan.ca_issuers_urls),
        )
        try:
            return Issued(ca.sign_leaf(held.authority, plan), _intermediates(held.authority))
        except (Invalid, Refused) as problem:
            raise UpstreamRejected(
                f"the Local CA does not sign this: {problem.message}", hint=problem.hint
            ) from problem

    def sign_message(self, content: bytes) -> bytes:
        return cms.sign(content, cms.Signer(self.authority.certificate, self.authority.private_key))

    def _signing_at(self, at: datetime | None) -> Held:
        """The CA that signed new leafs at this time, if it still may; otherwise the one that does now."""
        able = [one for one in self.generations if one.state is AuthorityState.ACTIVE]
        if not able:
            raise NotConfigured("the issuer has no CA that signs new certificates", hint="Activate one of its CAs.")
        if at is None:
            return able[0]
        then = [(one.signs_from, one.id, one) for one in able if one.signs_from is not None and one.signs_from <= at]
        return max(then)[2] if then else able[0]

    def _addresses(self, held: Held, urls: tuple[str, ...]) -> tuple[str, ...]:
        if held.is_plain:
            return urls
        return tuple(f"{url}/{held.authority.key_identifier.hex()}" for url in urls)

    def _crl_urls(self, held: Held, plan: LeafPlan) -> tuple[str, ...]:
        """The distribution point names the CA as well, beside the part of its CRL that the plan may name."""
        urls = plan.crl_urls
        if not held.is_plain:
            urls = tuple(distribution.of_authority(url, held.authority.key_identifier.hex()) for url in urls)
        return self.settings.crl_distribution_point_urls or urls

    def chain(self) -> Sequence[x509.Certificate]:
        return self.authority.chain

    def authorities(self) -> Sequence[AuthorityFacts]:
        return tuple(
            AuthorityFacts(one.id, one.authority.chain, one.state, one.is_plain, self._is_next(one), one.links)
            for one in self.generations
        )

    def _is_next(self, held: Held) -> bool:
        """One that was never in charge and is not above another one, as those are that sign CAs alone."""
        if held.signs_from is not None or held.state is not AuthorityState.ACTIVE or held is self.generations[0]:
            return False
        return not any(held.authority.certificate in one.authority.chain[1:] for one in self.generations)

    def sign_crl(self, plan: CrlPlan, authority: bytes | None = None) -> bytes:
        return crl.sign_crl(self._named(authority), plan)

    def certify_delegate(self, plan: DelegatePlan, authority: bytes | None = None) -> x509.Certificate:
        return delegate.certify(self._named(authority), plan)

    def certify_ca(self, plan: CaPlan, authority: bytes | None = None) -> tuple[x509.Certificate, ...]:
        return ca.sign_ca(self._named(authority), plan)

    def _named(self, identifier: bytes | None) -> Authority:
        if identifier is None:
            return self.authority
        for one in self.generations:
            if one.authority.key_identifier == identifier:
                return one.authority
        raise NotFound(f"the issuer has no CA whose key identifier is {identifier.hex()}")


def _alone(authority: Authority) -> Held:
    return Held(authority.key_identifier.hex(), authority, is_plain=True)


def _intermediates(authority: Authority) -> tuple[x509.Certificate, ...]:
    return tuple(one for one in authority.chain if one.issuer != one.subject)


def connect(chosen: LocalSettings, keep: Callable[[Make | None], Sequence[Held]], now: datetime) -> LocalIssuer:
    """The Local CA of these settings. `keep` gives the stored CAs, the first made by its argument when there is none
    yet. A CA in files signs new leafs before any stored one.

    Raises `NotConfigured` naming the setting when files are missing or hold no usable CA, when there is no CA, and when
    every one has expired.
    """
    if chosen.ca_cert_path:
        given = _from_files(Path(chosen.ca_cert_path), Path(chosen.ca_key_path))
        stored = [one for one in keep(None) if one.authority.key_identifier != given.key_identifier]
        held = (_alone(given), *stored)
    else:
        held = tuple(keep((lambda drivers: make_root(chosen, now, drivers)) if chosen.make_root else None))
    if not held:
        raise NotConfigured("the issuer has no CA yet", hint="Make one: POST /api/v1/issuers/{id}/intermediates.")
    valid = tuple(one for one in held if _is_valid(one, now))
    if not valid:
        _require_valid(held[0].authority, now)
    return LocalIssuer(chosen, valid[0].authority, valid)


def _is_valid(held: Held, now: datetime) -> bool:
    try:
        held.authority.require_valid(now)
    except Invalid:
        return False
    return True


def _require_valid(authority: Authority, now: datetime) -> None:
    try:
        authority.require_valid(now)
    except Invalid as problem:
        raise NotConfigured(
            problem.message, hint="Replace the CA, or point certificates at another issuer."
        ) from problem


def make_root(chosen: LocalSettings, now: datetime, drivers: KeyDrivers) -> tuple[KeptKey, Authority]:
    """A fresh root as the settings describe it."""
    starts = now.astimezone(UTC).replace(microsecond=0) - BACKDATE
    kept = drivers.make(chosen.ca_key_driver_id, chosen.ca_key_algorithm, mint("root", now))
    return kept, ca.root_of(chosen.ca_common_name, drivers.open(kept), starts, ROOT_LIFETIME)


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
