"""A certification authority: its own certificate, and the leafs it signs (RFC 5280; what is in them: `leaf`).

Signing is a function of the plan: with an RSA, ECDSA or Ed25519 authority the same plan gives the same bytes, so that
doing it again after a crash gives the same certificate. ML-DSA signatures are hedged (see `signing`); there the same
plan gives the same to-be-signed bytes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certctl_core.errors import Invalid, Refused
from certctl_core.pki import asn1, keys, leaf, names, reading, serials, signing
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import LeafPlan
from certctl_core.pki.soundness import check_plan
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

    @property
    def path_length(self) -> int | None:
        """How many CAs may follow in a path below this one, None for any number."""
        return self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length

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
        for child, parent in pairwise(chain):
            try:
                child.verify_directly_issued_by(parent)
            except (ValueError, TypeError, InvalidSignature):
                yield f"{child.subject.rfc4514_string()!r} was not issued by {parent.subject.rfc4514_string()!r}"


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


def create_root(
    common_name: str, kind: KeyKind, not_before: datetime, lifetime: timedelta, *, path_length: int | None = None
) -> Authority:
    """A self-signed root with a fresh key. Raises `Invalid` for a name or validity that X.509 has no room for."""
    private_key = keys.generate(kind)
    identifier = keys.key_identifier(private_key.public_key())
    name = _ca_subject(common_name)
    builder = _ca_builder(name, private_key, not_before, lifetime, path_length)
    builder = builder.issuer_name(name).add_extension(_authority_identifier(identifier), critical=False)
    return Authority((_signed(builder, private_key),), private_key)


def create_intermediate(
    parent: Authority,
    common_name: str,
    kind: KeyKind,
    not_before: datetime,
    lifetime: timedelta,
    *,
    path_length: int | None = 0,
) -> Authority:
    """A CA under `parent` with a fresh key, valid no longer than its parent.

    Raises `Refused` when the parent's path length leaves no room for it (RFC 5280 section 4.2.1.9).
    """
    room = parent.path_length
    if room is not None and (room == 0 or path_length is None or path_length >= room):
        reason = f"the CA above it may have {room} CAs below it in a path"
        raise Refused(f"no such CA is signed: {reason}", reasons=[reason])
    private_key = keys.generate(kind)
    lifetime = min(lifetime, parent.certificate.not_valid_after_utc - not_before)
    builder = _ca_builder(_ca_subject(common_name), private_key, not_before, lifetime, path_length)
    builder = builder.issuer_name(parent.certificate.subject)
    builder = builder.add_extension(_authority_identifier(parent.key_identifier), critical=False)
    return Authority((_signed(builder, parent.private_key), *parent.chain), private_key)


def _ca_subject(common_name: str) -> x509.Name:
    if not 1 <= len(common_name.strip()) <= names.MAX_COMMON_NAME:
        raise Invalid.field("ca_common_name", f"must have 1 to {names.MAX_COMMON_NAME} characters")
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name.strip())])


def _ca_builder(
    name: x509.Name, private_key: PrivateKey, not_before: datetime, lifetime: timedelta, path_length: int | None
) -> x509.CertificateBuilder:
    """All but issuer and authorityKeyIdentifier. digitalSignature is there because the CA signs OCSP answers itself."""
    starts = not_before.astimezone(UTC).replace(microsecond=0)
    if lifetime <= timedelta(0) or starts.year + lifetime.days // 365 > 9990:
        raise Invalid.field("lifetime", "must end after it begins and before the year 9999")
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier(keys.key_identifier(private_key.public_key()))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(private_key.public_key())
        .serial_number(serials.to_int(serials.new_serial()))
        .not_valid_before(starts)
        .not_valid_after((starts + lifetime).replace(microsecond=0))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, private_key: PrivateKey) -> x509.Certificate:
    deterministic = signing.deterministic(private_key)
    return builder.sign(private_key, signing.hash_for(private_key), ecdsa_deterministic=deterministic)


def _authority_identifier(identifier: bytes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(identifier, authority_cert_issuer=None, authority_cert_serial_number=None)


# Leafs


def sign_leaf(authority: Authority, plan: LeafPlan) -> x509.Certificate:
    """The certificate that `plan` says.

    Raises `Invalid` for a plan that no certificate can be made of, `Refused` for one that would outlive its issuer or
    certify a weak key.
    """
    check_plan(plan, authority.certificate)
    algorithm = authority.algorithm
    to_be_signed = leaf.to_be_signed(plan, authority.name, authority.key_identifier, algorithm)
    signature = signing.sign(authority.private_key, to_be_signed)
    return x509.load_der_x509_certificate(asn1.sequence(to_be_signed, algorithm, asn1.bit_string(signature)))
