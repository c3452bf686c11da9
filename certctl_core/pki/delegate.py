"""Certificates of delegates: OCSP responders (RFC 6960 section 4.2.2.2) and registration authorities (RFC 8894).

| extension            | critical | OCSP responder                         | registration authority            |
|----------------------|----------|----------------------------------------|-----------------------------------|
| authorityKeyId       | no       | the CA's subjectKeyIdentifier          | the same                          |
| subjectKeyId         | no       | RFC 7093 method 1                      | the same                          |
| basicConstraints     | yes      | cA FALSE                               | the same                          |
| keyUsage             | yes      | digitalSignature                       | digitalSignature, keyEncipherment |
| extKeyUsage          | no       | id-kp-OCSPSigning                      | none                              |
| id-pkix-ocsp-nocheck | no       | there: nobody asks about a responder   | none                              |

Its subject is the CA's with another common name, so that what a CA above permits of the CA's name it permits of this.
"""

from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl_core.errors import Invalid
from certctl_core.models.certificates import KeyUsageBit
from certctl_core.models.delegates import Purpose
from certctl_core.pki import keys, names, serials, signing, usages
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import DelegatePlan

_BITS: Final = {
    Purpose.OCSP: frozenset({KeyUsageBit.DIGITAL_SIGNATURE}),
    Purpose.RA: frozenset({KeyUsageBit.DIGITAL_SIGNATURE, KeyUsageBit.KEY_ENCIPHERMENT}),
}


def certify(authority: Authority, plan: DelegatePlan) -> x509.Certificate:
    """The certificate that `plan` says, ending with its CA at the latest. The same plan gives the same bytes, as in
    `ca`. Raises `Invalid` when the CA ends before the delegate would begin."""
    above = authority.certificate
    not_after = min(plan.not_after, above.not_valid_after_utc)
    not_before = max(plan.not_before, above.not_valid_before_utc)
    if not_after - not_before < timedelta(seconds=1):
        raise Invalid.field("not_after", "is not after not_before: the CA has ended")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(above.subject, plan.common_name))
        .issuer_name(above.subject)
        .public_key(plan.public_key)
        .serial_number(serials.to_int(plan.serial_number))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.AuthorityKeyIdentifier(authority.key_identifier, None, None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(keys.key_identifier(plan.public_key)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages.extension(_BITS[plan.purpose]), critical=True)
    )
    if plan.purpose is Purpose.OCSP:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    key = authority.private_key
    return builder.sign(key, signing.hash_for(key), ecdsa_deterministic=signing.deterministic(key))


def key_kind(authority: x509.Certificate, purpose: Purpose) -> KeyKind:
    """The key that a delegate of this CA gets. SCEP encrypts to RSA only. A responder signs with P-256, which is fast
    and known to every client, whatever the CA has; unless the CA has a key that quantum computers do not break, for
    then neither may its answers be forged with one."""
    if purpose is Purpose.RA:
        return KeyKind.RSA_2048
    facts = keys.describe(authority.public_key())
    return KeyKind.ML_DSA_44 if facts.algorithm.startswith("ML-DSA") else KeyKind.ECDSA_P256


def _subject(above: x509.Name, common_name: str) -> x509.Name:
    kept = [rdn for rdn in above.rdns if not rdn.get_attributes_for_oid(NameOID.COMMON_NAME)]
    name = x509.NameAttribute(NameOID.COMMON_NAME, common_name[: names.MAX_COMMON_NAME])
    return x509.Name([*kept, x509.RelativeDistinguishedName([name])])
