"""OpenSSL believes a hierarchy of ours with everything in it, its CRLs included, and no other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import Refused
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import bundle, ca, cacert, cms, constraints, crl, keys, names, reading, serials
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CaPlan, CrlPlan, PolicyInformation, RevokedEntry
from tests import plans
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture
def openssl() -> Peer:
    return peer("openssl")


def _below(parent: Authority, name: str, path_length: int, **more: Any) -> Authority:
    return ca.create_intermediate(
        parent, name, KeyKind.ECDSA_P256, NOW - DAY, 300 * DAY, path_length=path_length, **more
    )


def _leaf(issuer: Authority, *sans: str) -> x509.Certificate:
    return ca.sign_leaf(
        issuer,
        plans.plan(
            common_name="",
            sans=names.general_names(sans),
            serial_number=serials.new_serial(),
            not_before=NOW - timedelta(hours=1),
            not_after=NOW + 30 * DAY,
            must_staple=False,
        ),
    )


@pytest.fixture(scope="module")
def tree() -> tuple[Authority, Authority, Authority]:
    """A root with a path length, a CA with constraints on names, and one below it that signs leafs."""
    root = ca.create_root("Tree Root", KeyKind.RSA_2048, NOW - DAY, 3000 * DAY, path_length=2)
    limits = constraints.extension(("example.com", "IP:10.0.0.0/8"), ("secret.example.com",))
    policy = _below(root, "Tree Policy CA", 1, name_constraints=limits)
    return root, policy, _below(policy, "Tree Issuing CA", 0)


def _crl(authority: Authority, *revoked: x509.Certificate) -> str:
    entries = [
        crl.entry(
            RevokedEntry(serials.canonical(one.serial_number), NOW - timedelta(hours=1), RevocationReason.SUPERSEDED)
        )
        for one in revoked
    ]
    der = crl.sign_crl(authority, CrlPlan(1, NOW - timedelta(minutes=1), NOW + DAY, entries))
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()


def _verify(openssl: Peer, folder: Path, *, fails: bool = False) -> str:
    return openssl.run(
        "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslserver", "-CAfile", "root.pem",
        "-untrusted", "above.pem", "-CRLfile", "crls.pem", "leaf.pem",
        folder=folder, fails=fails,
    )  # fmt: skip


def _write(
    folder: Path, tree: tuple[Authority, Authority, Authority], leaf: x509.Certificate, *revoked: x509.Certificate
) -> None:
    root, policy, issuing = tree
    (folder / "root.pem").write_text(bundle.to_pem(root.certificate))
    (folder / "above.pem").write_text(bundle.to_pem(issuing.certificate, policy.certificate))
    (folder / "leaf.pem").write_text(bundle.to_pem(leaf))
    (folder / "crls.pem").write_text("".join(_crl(one, *revoked) for one in tree))


def test_a_whole_chain_is_verified_with_a_crl_of_each_ca(
    openssl: Peer, tree: tuple[Authority, Authority, Authority], tmp_path: Path
) -> None:
    _write(tmp_path, tree, _leaf(tree[2], "a.example.com", "10.1.2.3"))
    assert _verify(openssl, tmp_path).strip() == "leaf.pem: OK"


def test_a_ca_on_the_crl_of_the_one_above_takes_its_leafs_with_it(
    openssl: Peer, tree: tuple[Authority, Authority, Authority], tmp_path: Path
) -> None:
    _write(tmp_path, tree, _leaf(tree[2], "a.example.com"), tree[2].certificate)
    assert "certificate revoked" in _verify(openssl, tmp_path, fails=True)


@pytest.mark.parametrize("name", ["a.example.org", "x.secret.example.com", "192.0.2.1"])
def test_what_we_refuse_to_sign_openssl_refuses_to_believe(
    openssl: Peer, tree: tuple[Authority, Authority, Authority], tmp_path: Path, name: str
) -> None:
    root, _, issuing = tree
    with pytest.raises(Refused, match="does not certify this"):
        _leaf(issuing, name)
    careless = Authority(
        (ca.root_of("Tree Issuing CA", issuing.private_key, NOW - DAY, 300 * DAY)).chain, issuing.private_key
    )
    assert careless.key_identifier == issuing.key_identifier
    _write(tmp_path, tree, _leaf(careless, name))
    said = _verify(openssl, tmp_path, fails=True)
    assert "subtree violation" in said
    assert root.certificate.subject.rfc4514_string() == "CN=Tree Root"


def test_openssl_signs_a_sub_ca_from_our_csr_and_we_take_it(openssl: Peer, tmp_path: Path) -> None:
    """An offline root that is OpenSSL's: CSR out, certificate in."""
    ours = keys.generate(KeyKind.ECDSA_P384)
    request = cacert.request(names.subject("sub.example.com"), ours, path_length=0)
    (tmp_path / "sub.csr").write_bytes(request.public_bytes(Encoding.PEM))
    openssl.run(
        "req", "-x509", "-newkey", "rsa:3072", "-noenc", "-keyout", "root.key", "-out", "root.pem", "-days", "900",
        "-subj", "/O=Example/CN=Offline Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign", folder=tmp_path,
    )  # fmt: skip
    (tmp_path / "ext.cnf").write_text(
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nnameConstraints=critical,permitted;DNS:example.com\n"
    )
    openssl.run("x509", "-req", "-in", "sub.csr", "-CA", "root.pem", "-CAkey", "root.key", "-days", "400",
                "-extfile", "ext.cnf", "-out", "sub.pem", folder=tmp_path)  # fmt: skip
    chain = reading.certificates((tmp_path / "sub.pem").read_bytes() + (tmp_path / "root.pem").read_bytes())
    sub = Authority(tuple(chain), ours)
    sub.require_valid(datetime.now(UTC))
    starts = sub.certificate.not_valid_before_utc
    plan = plans.plan(common_name="", not_before=starts, not_after=NOW + 30 * DAY)
    leaf = ca.sign_leaf(sub, evolve(plan, sans=names.general_names(["a.example.com"])))
    (tmp_path / "leaf.pem").write_text(bundle.to_pem(leaf))
    said = openssl.run(
        "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "sub.pem", "leaf.pem", folder=tmp_path
    )
    assert said.strip() == "leaf.pem: OK"
    with pytest.raises(Refused, match="does not certify this"):
        ca.sign_leaf(sub, evolve(plan, sans=names.general_names(["b.org"])))


def test_openssl_reads_the_policies_and_constraints_of_a_ca(openssl: Peer, tmp_path: Path) -> None:
    root = ca.create_root("Policy Root", KeyKind.ECDSA_P256, NOW - DAY, 3000 * DAY)
    plan = CaPlan(
        subject=names.subject("policy.example.com"),
        public_key=plans.key().public_key(),
        serial_number="17",
        not_before=NOW - DAY,
        not_after=NOW + 30 * DAY,
        path_length=0,
        name_constraints=constraints.extension(
            ("DNS:example.com", "email:example.com", "URI:.example.com", "dirName:O=Example,C=DE"), ("IP:0.0.0.0/0",)
        ),
        policies=(PolicyInformation("1.3.6.1.4.1.55555.7", "https://pki.example.com/cps"),),
    )
    (tmp_path / "ca.pem").write_text(
        bundle.to_pem(ca.sign_ca(root, evolve(plan, subject=x509.Name.from_rfc4514_string("CN=P,O=Example,C=DE")))[0])
    )
    said = openssl.run("x509", "-in", "ca.pem", "-noout", "-text", folder=tmp_path)
    for words in (
        "CA:TRUE, pathlen:0", "X509v3 Name Constraints: critical", "DNS:example.com", "email:example.com",
        "URI:.example.com", "DirName:C = DE, O = Example", "IP:0.0.0.0/0.0.0.0", "Policy: 1.3.6.1.4.1.55555.7",
        "CPS: https://pki.example.com/cps",
    ):  # fmt: skip
        assert words in said


def test_openssl_believes_one_root_by_the_other_over_a_link(openssl: Peer, tmp_path: Path) -> None:
    old, new = (ca.create_root(f"{age} Root", KeyKind.ECDSA_P256, NOW - DAY, 3000 * DAY) for age in ("Old", "New"))

    def link(of: Authority, by: Authority) -> str:
        plan = CaPlan(
            subject=of.certificate.subject,
            public_key=of.certificate.public_key(),
            serial_number=serials.new_serial(),
            not_before=NOW - DAY,
            not_after=NOW + 1000 * DAY,
            is_link=True,
        )
        return bundle.to_pem(ca.sign_ca(by, plan)[0])

    for trusted, signing in ((old, new), (new, old)):
        (tmp_path / "root.pem").write_text(bundle.to_pem(trusted.certificate))
        (tmp_path / "link.pem").write_text(link(signing, trusted))
        (tmp_path / "leaf.pem").write_text(bundle.to_pem(_leaf(signing, "a.example.com")))
        said = openssl.run(
            "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "link.pem", "leaf.pem", folder=tmp_path
        )
        assert said.strip() == "leaf.pem: OK"


def test_openssl_verifies_the_word_of_a_ca_on_the_next_one(openssl: Peer, tmp_path: Path) -> None:
    """GetNextCACert (RFC 8894 section 4.7.1): certificates in a message that the present CA's RA has signed."""
    present, coming = (ca.create_root(f"{which} Root", KeyKind.RSA_2048, NOW - DAY, 3000 * DAY) for which in "AB")
    message = cms.sign(cms.degenerate(coming.chain), cms.Signer(present.certificate, present.private_key))
    (tmp_path / "message.der").write_bytes(message)
    (tmp_path / "root.pem").write_text(bundle.to_pem(present.certificate))
    openssl.run("cms", "-verify", "-inform", "DER", "-in", "message.der", "-CAfile", "root.pem", "-purpose", "any",
                "-binary", "-out", "next.p7", folder=tmp_path)  # fmt: skip
    openssl.run("pkcs7", "-inform", "DER", "-in", "next.p7", "-print_certs", "-out", "next.pem", folder=tmp_path)
    assert reading.certificates((tmp_path / "next.pem").read_bytes()) == coming.chain
