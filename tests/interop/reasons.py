"""Why we sign what a linter finds fault with: every finding that is accepted, and the reason.

A row without which nothing would be found amiss must go (`test_linters` sees to it).
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from tests.interop.linters import Finding


@frozen
class Accepted:
    """Findings of this code whose words, or whose artefact, have `about` in them."""

    code: str
    because: str
    about: str = ""

    def covers(self, finding: Finding) -> bool:
        return finding.code == self.code and (self.about in finding.words or self.about in finding.what)


def unexplained(findings: Iterable[Finding], accepted: Iterable[Accepted]) -> list[str]:
    """What is found and not accepted, ready to be read."""
    rows = tuple(accepted)
    return sorted({str(finding) for finding in findings if not any(row.covers(finding) for row in rows)})


def unneeded(findings: Iterable[Finding], accepted: Iterable[Accepted]) -> list[str]:
    """The codes of rows that cover nothing of this."""
    found = tuple(findings)
    return [row.code for row in accepted if not any(row.covers(finding) for finding in found)]


BY_PKILINT: Final = (
    Accepted(
        "pkix.invalid_uri_syntax",
        "A SPIFFE ID is an absolute URI with a host, which is what RFC 5280 section 4.2.1.6 asks for; pkilint has the "
        "schemes of the web alone.",
        about="spiffe://",
    ),
    Accepted(
        "pkix.invalid_domain_name_syntax",
        "RFC 5280 section 4.2.1.6 leaves wildcards to others, and RFC 9525 section 6.3 says what they mean.",
        about='"*.example.com"',
    ),
    Accepted(
        "pkix.invalid_domain_name_syntax",
        "A host of a private network may have a name of one label, which is in preferred name syntax (RFC 1034 3.5).",
        about='"localhost"',
    ),
)

BY_ZLINT: Final = (
    Accepted(
        "w_rfc_dnsname_underscore_in_trd",
        "Hosts of private networks have underscores in their names, and their certificates must have the same; whoever "
        "does not want them says so in the profile.",
        about="a_b.example.com",
    ),
)

_PRIVATE: Final = "The Baseline Requirements are those of CAs that browsers trust beforehand, and this is none: "

FOR_BROWSERS_BY_PKILINT: Final = (
    Accepted(
        "cabf.serverauth.ca.country_attribute_absent",
        f"{_PRIVATE}it is known by the common name that its operator gave it.",
    ),
    Accepted(
        "cabf.serverauth.ca.organization_name_attribute_absent",
        f"{_PRIVATE}it is known by the common name that its operator gave it.",
    ),
    Accepted(
        "cabf.serverauth.ca.certificate_policies_extension_absent",
        f"{_PRIVATE}no policy is asserted unless the operator has one.",
    ),
    Accepted(
        "cabf.serverauth.subscriber.certificate_policies_extension_absent",
        f"{_PRIVATE}the policies that could be asserted here are the Forum's own.",
    ),
    Accepted(
        "cabf.serverauth.ca.extended_key_usage_extension_absent",
        f"{_PRIVATE}one CA may sign for servers, clients, mail and code; profiles keep them apart.",
    ),
    Accepted(
        "cabf.serverauth.dv.common_name_attribute_present",
        "The common name is what inventories and many appliances show; it is repeated in the SAN, as is asked.",
    ),
    Accepted(
        "cabf.serverauth.subscriber_rsa_digitalsignature_and_keyencipherment_present",
        "TLS 1.2 with RSA key exchange is still spoken in private networks, and then both are needed.",
    ),
    Accepted(
        "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
        "RFC 5280 section 4.2.1.2 says that end entities should have one.",
    ),
    Accepted(
        "cabf.serverauth.prohibited_signature_algorithm_encoding",
        f"{_PRIVATE}Ed25519 (RFC 8410) and ML-DSA (RFC 9881) are for those who chose them.",
    ),
    Accepted(
        "cabf.serverauth.prohibited_subject_public_key_algorithm_encoding",
        f"{_PRIVATE}Ed25519 (RFC 8410) and ML-DSA (RFC 9881) are for those who chose them.",
    ),
)

FOR_BROWSERS_BY_ZLINT: Final = (
    Accepted("e_ca_country_name_missing", f"{_PRIVATE}it is known by the common name that its operator gave it."),
    Accepted("e_ca_organization_name_missing", f"{_PRIVATE}it is known by the common name that its operator gave it."),
    Accepted("e_invalid_ca_certificate_policies", f"{_PRIVATE}no policy is asserted unless the operator has one."),
    Accepted("e_sub_ca_certificate_policies_missing", f"{_PRIVATE}no policy is asserted unless the operator has one."),
    Accepted(
        "e_sub_cert_certificate_policies_missing",
        f"{_PRIVATE}the policies that could be asserted here are the Forum's own.",
    ),
    Accepted(
        "e_sub_cert_cert_policy_empty", f"{_PRIVATE}the policies that could be asserted here are the Forum's own."
    ),
    Accepted(
        "w_subject_common_name_included",
        "The common name is what inventories and many appliances show; it is repeated in the SAN, as is asked.",
    ),
    Accepted(
        "w_ext_subject_key_identifier_not_recommended_subscriber",
        "RFC 5280 section 4.2.1.2 says that end entities should have one.",
    ),
    Accepted(
        "e_cab_crl_has_valid_reason_code",
        f"{_PRIVATE}RFC 5280 section 5.3.1 has more reasons than browsers use, and operators hold and lift with them.",
    ),
    Accepted(
        "e_crl_extensions_validity",
        f"{_PRIVATE}deltas are there where the operator switched them on (RFC 5280 section 5.2.4).",
        about="NOT RECOMMENDED",
    ),
    Accepted(
        "e_algorithm_identifier_improper_encoding",
        f"{_PRIVATE}Ed25519 (RFC 8410) and ML-DSA (RFC 9881) are for those who chose them.",
    ),
    Accepted(
        "e_signature_algorithm_not_supported",
        f"{_PRIVATE}Ed25519 (RFC 8410) and ML-DSA (RFC 9881) are for those who chose them.",
    ),
    Accepted("e_public_key_type_not_allowed", f"{_PRIVATE}ML-DSA (RFC 9881) is for those who chose it."),
)

FOR_BROWSERS_BY_ZLINT += tuple(
    Accepted(code, "zlint cannot verify ML-DSA, and so does not see that a root signed itself.", about="root")
    for code in ("e_sub_ca_crl_distribution_points_missing", "w_sub_ca_aia_missing")
)
