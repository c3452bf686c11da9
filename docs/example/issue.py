"""Issues a certificate and a CRL with nothing but certctl_core, attrs, cattrs and cryptography."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ca, crl, csr, keys, names, serials
from certctl_core.pki.plan import CrlPlan, LeafPlan, RevokedEntry

now = datetime.now(UTC).replace(microsecond=0)
authority = ca.create_root("Example CA", keys.KeyKind.ECDSA_P256, now, timedelta(days=3650))

request = csr.build(keys.generate(keys.KeyKind.ED25519), "www.example.org", ["www.example.org", "192.0.2.7"])
csr.check_matches(request, "www.example.org", ["192.0.2.7"])
sans = tuple(names.names_of("www.example.org", ["192.0.2.7"]))
serial, ends = serials.new_serial(), now + timedelta(days=47)
leaf = ca.sign_leaf(authority, LeafPlan("www.example.org", sans, request.public_key(), serial, now, ends))
print(leaf.public_bytes(Encoding.PEM).decode())

revoked = RevokedEntry(serial, now, RevocationReason.SUPERSEDED)
revocations = crl.read(crl.sign_crl(authority, CrlPlan(1, now, now + timedelta(days=7), crl.entries([revoked]))))
print(revocations.public_bytes(Encoding.PEM).decode())

leaf.verify_directly_issued_by(authority.certificate)
assert crl.is_signed_by(revocations, authority.certificate)
assert crl.entry_of(revocations, serial) == revoked
