"""Files that pyca/cryptography is tested with (`cryptography-vectors`), NIST's PKITS among them: what we say of them.

Every file is given to every reader, whatever it is: something is read, or refused in the way that reader may.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509

from certctl_core.errors import CertctlError, Unreadable
from certctl_core.pki import bundle, csr, keys, ocsp, paths, reading
from tests.mutations import growing
from tests.mutations.readers import READERS

pytestmark = pytest.mark.interop

VECTORS = Path(cryptography_vectors.__file__).parent
FOLDERS = ("x509", "pkcs12", "pkcs7", "asymmetric/PKCS8", "asymmetric/Traditional_OpenSSL_Serialization")


def _files() -> Iterator[bytes]:
    for folder in FOLDERS:
        for path in sorted((VECTORS / folder).rglob("*")):
            if path.is_file() and path.stat().st_size < 1 << 20:
                yield path.read_bytes()


@pytest.mark.parametrize("name", READERS)
def test_every_file_is_read_or_refused(name: str) -> None:
    files = list(_files())
    assert len(files) > 1500
    with growing.reader_process(name, as_is=True) as process:
        for start in range(0, len(files), growing.BATCH):
            process.read(files[start : start + growing.BATCH])
        assert process.outcomes.total() == len(files)


# CSRs and OCSP requests

CSRS = {
    "challenge-unstructured.pem", "challenge.pem", "ec_sha256.der", "ec_sha256.pem", "ec_sha256_old_header.pem",
    "rsa_sha256.der", "rsa_sha256.pem",
}  # fmt: skip
"""Those with a sound key and a signature that verifies. The others have keys of DSA or of 1024 bits, are signed with
SHA-1 or MD4, or are made wrongly on purpose."""

OCSP_REQUESTS = {
    "ocsp-army.inapplicable-req.der", "ocsp-army.revoked-req.der", "ocsp-army.valid-req.der",
    "req-acceptable-responses.der", "req-ext-nonce.der", "req-ext-unknown-oid.der", "req-multi-sha1.der",
    "req-sha1.der",
}  # fmt: skip
"""Those with questions of version 1, hashed in a way that is known."""


@pytest.mark.parametrize(
    ("folder", "read", "sound"),
    [("x509/requests/*", csr.read, CSRS), ("x509/ocsp/*req*", ocsp.read_request, OCSP_REQUESTS)],
    ids=["CSR", "OCSP"],
)
def test_what_is_sound_is_read_and_nothing_else(
    folder: str, read: Callable[[bytes], object], sound: Collection[str]
) -> None:
    found = set()
    for path in VECTORS.glob(folder):
        with suppress(CertctlError):
            read(path.read_bytes())
            found.add(path.name)
    assert found == sound


# PKCS #12


@pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
@pytest.mark.parametrize("path", sorted((VECTORS / "pkcs12").glob("*.p12")), ids=lambda path: str(path.stem))
def test_a_file_opens_with_its_password_and_no_other(path: Path) -> None:
    opened = []
    for password in ("", "password", "cryptography"):
        try:
            private_key, certificate, others = bundle.from_pkcs12(path.read_bytes(), password)
        except Unreadable:
            continue
        opened.append(password)
        assert private_key or certificate or others
        assert private_key is None or certificate is None or keys.same_key(private_key, certificate)
    assert len(opened) == 1


# Certification paths

PKITS = VECTORS / "x509" / "PKITS_data" / "certs"
PKITS_TIME = datetime(2020, 1, 1, tzinfo=UTC)
_CASE = re.compile(r"(Valid|Invalid)(.*)Test\d+EE")
_OF_ANOTHER_PART = re.compile(
    "crl|polic|idp|distributionpoint|reasons|revoked|onlycontains|separatecert|serialnumber", re.IGNORECASE
)
"""Cases of revocation and of policies, which are not judged with the path."""

DIFFERENT = {
    "InvalidBasicSelfIssuedNewWithOldTest5EE": "it is revoked, which is not judged with the path",
    "InvalidBasicSelfIssuedOldWithNewTest2EE": "it is revoked, which is not judged with the path",
    "ValidDSASignaturesTest4EE": "DSA is not certified",
    "ValidDSAParameterInheritanceTest5EE": "DSA is not certified",
    **dict.fromkeys(
        (
            "ValidNameChainingCapitalizationTest5EE", "ValidNameChainingWhitespaceTest3EE",
            "ValidNameChainingWhitespaceTest4EE", "ValidRolloverfromPrintableStringtoUTF8StringTest10EE",
            "ValidUTF8StringCaseInsensitiveMatchTest11EE",
        ),
        "names are compared octet by octet, as a CA must write them (RFC 5280 section 4.1.2.6) and as TLS stacks do",
    ),
}  # fmt: skip


@cache
def _pkits() -> tuple[dict[str, x509.Certificate], tuple[x509.Certificate, ...]]:
    """The end entities by their names, and all the CAs."""
    read: dict[str, x509.Certificate] = {}
    for path in sorted(PKITS.iterdir()):
        with suppress(Unreadable):
            read[path.stem] = reading.certificate(path.read_bytes())
    entities = {name: one for name, one in read.items() if name.endswith("EE")}
    return entities, tuple(one for name, one in read.items() if name not in entities)


def _cases() -> Iterator[tuple[str, bool]]:
    for path in sorted(PKITS.iterdir()):
        case = _CASE.fullmatch(path.stem)
        if case and not _OF_ANOTHER_PART.search(case[2]):
            yield path.stem, case[1] == "Valid"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_paths_of_pkits_are_judged_as_nist_says() -> None:
    entities, authorities = _pkits()
    root = next(one for one in authorities if one.subject == one.issuer and "Trust Anchor" in str(one.subject))
    cases = dict(_cases())
    assert len(cases) > 80
    judged = {
        name: name in entities and bool(paths.judge(entities[name], authorities, [root], PKITS_TIME)) for name in cases
    }
    assert {name for name in cases if judged[name] != cases[name]} == set(DIFFERENT)
