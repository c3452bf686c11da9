"""What is about to be signed, as values: the plans a CA turns into bytes.

A `LeafPlan` says everything an end-entity certificate will contain; profiles judge the plan, and what a CA returns is
read back into the same shape and judged again before it is believed.
"""

from collections.abc import Sequence
from datetime import datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl_core.models.certificates import RevocationReason
from certctl_core.models.delegates import Purpose


@frozen
class LeafPlan:
    """An end-entity certificate to be (RFC 5280 section 4).

    `ekus` are short names (`serverAuth`, `clientAuth`, `codeSigning`, `emailProtection`, `timeStamping`);
    `serial_number` is the canonical lower-case hex form; times are aware UTC with whole seconds. What is short-lived is
    over before anybody would hear that it was revoked: it is on no CRL and names none.
    """

    common_name: str
    sans: tuple[x509.GeneralName, ...]
    public_key: CertificatePublicKeyTypes = field(eq=False)
    serial_number: str
    not_before: datetime
    not_after: datetime
    ekus: tuple[str, ...] = ("serverAuth",)
    must_staple: bool = False
    crl_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    ca_issuers_urls: tuple[str, ...] = ()
    is_short_lived: bool = False


@frozen
class DelegatePlan:
    """The certificate of a delegate to be. Serial number and times as in `LeafPlan`."""

    purpose: Purpose
    common_name: str
    public_key: CertificatePublicKeyTypes = field(eq=False)
    serial_number: str
    not_before: datetime
    not_after: datetime


@frozen
class PolicyInformation:
    """A certificate policy: its dotted OID, and where its practice statement (CPS) is, if anywhere."""

    oid: str
    cps: str = ""


@frozen(kw_only=True)
class CaPlan:
    """A CA certificate to be. `path_length` is how many CAs may follow below it in a path, None for any number. A link
    is about another key of the CA that signs it, or of the one that follows it: it may have the same name."""

    subject: x509.Name
    public_key: CertificatePublicKeyTypes = field(eq=False)
    serial_number: str
    not_before: datetime
    not_after: datetime
    path_length: int | None = None
    name_constraints: x509.NameConstraints | None = None
    policies: tuple[PolicyInformation, ...] = ()
    is_link: bool = False
    crl_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    ca_issuers_urls: tuple[str, ...] = ()


@frozen
class RevokedEntry:
    """A revokedCertificates entry (RFC 5280 section 5.3). `invalid_since` is the invalidityDate: from when on the
    certificate is known or thought not to have been good. `is_removed` is for deltas: what was on hold is no longer, so
    that the reason is removeFromCRL."""

    serial_number: str
    revoked_at: datetime
    reason: RevocationReason
    invalid_since: datetime | None = None
    is_removed: bool = False


@frozen
class CrlPlan:
    """A CRL to be (RFC 5280 section 5).

    `entries` are in DER already (`crl.entry`), so that what was encoded once need not be again; each element holds any
    number of them. With a `base` it is a delta: what has changed since the complete CRL of that number. `addresses`
    name the part of the CA's certificates that it is about, by the names of the distribution points in those; none: it
    is about all of them. At the `delta_addresses` are its deltas.
    """

    number: int
    this_update: datetime
    next_update: datetime
    entries: Sequence[bytes] = field(default=(), repr=False)
    base: int | None = None
    addresses: tuple[str, ...] = ()
    delta_addresses: tuple[str, ...] = ()


@frozen
class OcspQuestion:
    """A CertID (RFC 6960 section 4.1.1). `hash_name` is what the issuer is hashed with, such as `sha1`."""

    serial_number: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    hash_name: str

    @property
    def issuer(self) -> tuple[str, bytes, bytes]:
        """Which CA it is about, as far as it says."""
        return self.hash_name, self.issuer_name_hash, self.issuer_key_hash


@frozen
class OcspRequest:
    """What a request asks, and the nonce that the response is to repeat (RFC 9654)."""

    questions: tuple[OcspQuestion, ...]
    nonce: bytes | None = None


@frozen
class OcspAnswer:
    """good when `known` and not revoked; revoked when `revoked_at` is set; unknown otherwise.

    `archive_cutoff` is said of an expired certificate: its status is known although it ended, as is that of every
    certificate which ended after this time (RFC 6960 section 4.4.4).
    """

    known: bool
    this_update: datetime
    next_update: datetime
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None
    archive_cutoff: datetime | None = None
