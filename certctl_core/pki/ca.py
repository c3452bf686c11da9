"""A certification authority: its own certificate, and the leafs it signs (RFC 5280; what is in them: `leaf`).

Signing is a function of the plan: with an RSA, ECDSA or Ed25519 authority the same plan gives the same bytes, so that
doing it again after a crash gives the same certificate. ML-DSA signatures are hedged (see `signing`); there the same
plan gives the same to-be-signed bytes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from attrs import evolve, field, frozen
from cryptography import x509

from certctl_core.errors import Invalid
from certctl_core.pki import asn1, cacert, keys, leaf, names, paths, reading, serials, signing
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import CaPlan, LeafPlan
from certctl_core.pki.soundness import check_ca_plan, check_plan
from certctl_core.pki.untrusted import parsing

MAX_CHAIN: Final = 8


@frozen
class Authority:
    """A CA certificate with the certificates above it (nearest first, root last) and its private key.

    Making one raises `Invalid` when the first certificate is not a CA that may sign certificates and CRLs, the key is
    not its key, or the chain is not a chain.
    """

    chain: tuple[x509.Certificate, ...] = field()
    private_key: PrivateKey = field(repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        problems = tuple(_problems(self.chain, self.private_key))
        if problems:
            raise Invalid(f"not a usable CA: {'; '.join(problems)}")

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @cached_property
    def name(self) -> bytes:
        """The subject of the CA in DER, which is the issuer of everything it signs."""
        return self.certificate.subject.public_bytes()

    @cached_property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier of the CA, to which everything it signs points."""
        return reading.key_identifier_of(self.certificate)

    @cached_property
    def algorithm(self) -> bytes:
        """DER of the AlgorithmIdentifier of its signatures."""
        return signing.algorithm_identifier(self.private_key)

    def require_valid(self, now: datetime) -> None:
        """Raises `Invalid` unless every certificate of the chain is within its validity at `now`."""
        for certificate in self.chain:
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Invalid(
                    f"the CA certificate {certificate.subject.rfc4514_string()!r} is valid from "
                    f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
                    f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
                )


def _problems(chain: tuple[x509.Certificate, ...], private_key: PrivateKey) -> Iterable[str]:
    if not 1 <= len(chain) <= MAX_CHAIN:
        yield f"the chain has {len(chain)} certificates"
        return
    with parsing("the CA certificate"):
        if not keys.same_key(chain[0], private_key):
            yield "the private key is not that of the certificate"
        yield from _ca_problems(chain[0])
        yield from paths.chain_problems(chain)
        if (paths.room_below(chain) or 0) < 0:
            yield "the CAs above it do not let it sign anything (path length)"


def _ca_problems(certificate: x509.Certificate) -> Iterable[str]:
    if not certificate.subject.rdns:
        yield "the subject is empty"
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        yield "the certificate is not a CA certificate (basicConstraints)"
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        yield "the certificate may not sign certificates (keyUsage lacks keyCertSign)"


# CA certificates


def sign_ca(authority: Authority, plan: CaPlan) -> tuple[x509.Certificate, ...]:
    """The certificate of a CA below this one, and the chain above it. What is signed is signed at once: the same plan
    gives the same bytes, as with leafs.

    Raises `Invalid` for a plan that no certificate can be made of, `Refused` for a CA that this one must not have below
    it: by path length, names, validity.
    """
    check_ca_plan(plan, authority.chain)
    made = cacert.signed(plan, authority.certificate.subject, authority.key_identifier, authority.private_key)
    return (made, *authority.chain)


def self_signed(plan: CaPlan, private_key: PrivateKey) -> Authority:
    """A root that says what `plan` says. Raises `Invalid`."""
    check_ca_plan(plan)
    identifier = keys.key_identifier(plan.public_key)
    return Authority((cacert.signed(plan, plan.subject, identifier, private_key),), private_key)


def create_root(
    common_name: str, kind: KeyKind, not_before: datetime, lifetime: timedelta, *, path_length: int | None = None
) -> Authority:
    """A self-signed root with a fresh key. Raises `Invalid` for a name or validity that X.509 has no room for."""
    return root_of(common_name, keys.generate(kind), not_before, lifetime, path_length=path_length)


def root_of(
    common_name: str,
    private_key: PrivateKey,
    not_before: datetime,
    lifetime: timedelta,
    *,
    path_length: int | None = None,
) -> Authority:
    """As `create_root`, with this key."""
    return self_signed(_plan(common_name, private_key, not_before, lifetime, path_length), private_key)


def create_intermediate(
    parent: Authority,
    common_name: str,
    kind: KeyKind,
    not_before: datetime,
    lifetime: timedelta,
    *,
    path_length: int | None = 0,
    name_constraints: x509.NameConstraints | None = None,
) -> Authority:
    """A CA under `parent` with a fresh key, valid no longer than its parent. Raises as `sign_ca`."""
    private_key = keys.generate(kind)
    lifetime = min(lifetime, parent.certificate.not_valid_after_utc - not_before)
    plan = _plan(common_name, private_key, not_before, lifetime, path_length)
    return Authority(sign_ca(parent, evolve(plan, name_constraints=name_constraints)), private_key)


def _plan(
    common_name: str, private_key: PrivateKey, not_before: datetime, lifetime: timedelta, path_length: int | None
) -> CaPlan:
    starts = not_before.astimezone(UTC).replace(microsecond=0)
    if lifetime <= timedelta(0) or starts.year + lifetime.days // 365 > 9990:
        raise Invalid.field("lifetime", "must end after it begins and before the year 9999")
    return CaPlan(
        subject=_ca_subject(common_name),
        public_key=private_key.public_key(),
        serial_number=serials.new_serial(),
        not_before=starts,
        not_after=(starts + lifetime).replace(microsecond=0),
        path_length=path_length,
    )


def _ca_subject(common_name: str) -> x509.Name:
    if not 1 <= len(common_name.strip()) <= names.MAX_COMMON_NAME:
        raise Invalid.field("ca_common_name", f"must have 1 to {names.MAX_COMMON_NAME} characters")
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name.strip())])


# Leafs


def sign_leaf(authority: Authority, plan: LeafPlan) -> x509.Certificate:
    """The certificate that `plan` says.

    Raises `Invalid` for a plan that no certificate can be made of, `Refused` for one that would outlive its issuer,
    certify a weak key, or hold a name that a CA above must not certify.
    """
    check_plan(plan, authority.chain)
    algorithm = authority.algorithm
    to_be_signed = leaf.to_be_signed(plan, authority.name, authority.key_identifier, algorithm)
    signature = signing.sign(authority.private_key, to_be_signed)
    return x509.load_der_x509_certificate(asn1.sequence(to_be_signed, algorithm, asn1.bit_string(signature)))
