"""Certificates of CAs, and the requests for them: what is in them (RFC 5280 section 4.2).

| extension           | critical | content                                                                             |
|---------------------|----------|-------------------------------------------------------------------------------------|
| basicConstraints    | yes      | cA TRUE, and how many CAs may follow                                                |
| keyUsage            | yes      | keyCertSign, cRLSign; digitalSignature, since it may answer OCSP with its own key   |
| subjectKeyId        | no       | RFC 7093 method 1, as in leafs                                                      |
| nameConstraints     | yes      | the plan's                                                                          |
| certificatePolicies | no       | the plan's, with where the practice statement is                                    |
| cRLDistribution     | no       | where the CRL of the CA above is                                                    |
| authorityInfo       | no       | OCSP responders for this certificate, then where the certificate of the CA above is |
| authorityKeyId      | no       | the subjectKeyIdentifier of the CA above                                            |
"""

from typing import Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from certctl_core.pki import keys, serials, signing
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.plan import CaPlan, PolicyInformation

_USAGE: Final = x509.KeyUsage(
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


def signed(plan: CaPlan, issuer: x509.Name, issuer_identifier: bytes, private_key: PrivateKey) -> x509.Certificate:
    """The certificate that `plan` says, signed with the issuer's key. The plan has been checked."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(plan.subject)
        .issuer_name(issuer)
        .public_key(plan.public_key)
        .serial_number(serials.to_int(plan.serial_number))
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
    )
    for value, critical in _extensions(plan, issuer_identifier):
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(
        private_key, signing.hash_for(private_key), ecdsa_deterministic=signing.deterministic(private_key)
    )


def _extensions(plan: CaPlan, issuer_identifier: bytes) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=plan.path_length), True),
        (_USAGE, True),
        (x509.SubjectKeyIdentifier(keys.key_identifier(plan.public_key)), False),
    ]
    if plan.name_constraints is not None:
        found.append((plan.name_constraints, True))
    if plan.policies:
        found.append((x509.CertificatePolicies([_policy(one) for one in plan.policies]), False))
    if plan.crl_urls:
        urls = [x509.UniformResourceIdentifier(url) for url in plan.crl_urls]
        found.append((x509.CRLDistributionPoints([x509.DistributionPoint(urls, None, None, None)]), False))
    access = [(AuthorityInformationAccessOID.OCSP, url) for url in plan.ocsp_urls]
    access += [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in plan.ca_issuers_urls]
    if access:
        described = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in access]
        found.append((x509.AuthorityInformationAccess(described), False))
    found.append((x509.AuthorityKeyIdentifier(issuer_identifier, None, None), False))
    return found


def _policy(policy: PolicyInformation) -> x509.PolicyInformation:
    return x509.PolicyInformation(x509.ObjectIdentifier(policy.oid), [policy.cps] if policy.cps else None)


def request(
    subject: x509.Name, private_key: PrivateKey, path_length: int | None = None
) -> x509.CertificateSigningRequest:
    """A CSR that asks another CA for the certificate of this one. What that CA puts in it is its own affair."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(keys.key_identifier(private_key.public_key())), critical=False)
        .sign(private_key, signing.hash_for(private_key), ecdsa_deterministic=signing.deterministic(private_key))
    )
