"""CA keys in a token (softhsm2): they sign what is right and never come out, and a token that goes away comes back."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as library

from certctl_adapters import key_drivers
from certctl_adapters.issuers import InstalledIssuers
from certctl_adapters.key_drivers import InstalledKeyDrivers
from certctl_adapters.memory import MemoryStore
from certctl_adapters.pkcs11 import Token, TokenSettings
from certctl_core.errors import (
    CertctlError,
    Conflict,
    Invalid,
    NotConfigured,
    NotFound,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ca, cacert, crl, keys, ocsp, paths, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import CrlPlan, OcspAnswer, RevokedEntry
from certctl_core.ports.issuer import Issued
from certctl_core.ports.signer import KeptKey
from tests import plans
from tests.contract.issuers import contract
from tests.stand_ins import MovableClock, PlainBox

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
LABEL, PIN = "certctl tests", "987654"
KINDS = (KeyKind.ECDSA_P256, KeyKind.ECDSA_P384, KeyKind.RSA_2048, KeyKind.ED25519)


def _missing(words: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture(scope="module")
def module_path() -> Path:
    found = [Path(one) for one in MODULES if Path(one).exists()]
    if not found or shutil.which("softhsm2-util") is None:
        _missing("softhsm2 is not on this machine")
    pytest.importorskip("pkcs11")
    return found[0]


@pytest.fixture(scope="module")
def settings(module_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenSettings]:
    """A fresh token in a folder of its own. The library reads where it is once in the life of a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "12345678", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    yield TokenSettings(module_path, LABEL, PIN)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def token(settings: TokenSettings) -> Token:
    return Token(settings)


@pytest.fixture
def drivers(settings: TokenSettings) -> InstalledKeyDrivers:
    return key_drivers.installed(PlainBox(), settings)


_NUMBERS = iter(range(10**6))


def _made(drivers: InstalledKeyDrivers, kind: KeyKind = KeyKind.ECDSA_P256) -> PrivateKey:
    return drivers.open(drivers.make("pkcs11", kind, f"key {next(_NUMBERS)}"))


def _root(drivers: InstalledKeyDrivers, kind: KeyKind = KeyKind.ECDSA_P256) -> Authority:
    return ca.root_of("Token Root", _made(drivers, kind), plans.NOW - timedelta(days=1), timedelta(days=3650))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_a_ca_in_a_token_signs_everything_that_a_ca_signs(drivers: InstalledKeyDrivers, kind: KeyKind) -> None:
    root = _root(drivers, kind)
    below = ca.create_intermediate(root, "Below", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=30))
    leaf = ca.sign_leaf(root, plans.plan())
    assert paths.chain_problems((leaf, root.certificate), plans.NOW) == ()
    assert paths.chain_problems(below.chain, plans.NOW) == ()
    signed = crl.read(crl.sign_crl(root, CrlPlan(1, plans.NOW, plans.NOW + timedelta(days=1), [])))
    assert crl.is_signed_by(signed, root.certificate)
    # What is long is hashed outside of the token, but for keys that need all of it.
    many = [RevokedEntry(f"{n:x}", plans.NOW, RevocationReason.SUPERSEDED) for n in range(2**100, 2**100 + 30_000)]
    entries = crl.entries(many)
    assert sum(map(len, entries)) > 1 << 20
    long = crl.sign_crl(root, CrlPlan(2, plans.NOW, plans.NOW + timedelta(days=1), entries))
    assert crl.is_signed_by(crl.read(long), root.certificate)
    responder = ocsp.Responder(root.certificate, root.certificate, root.private_key)
    answer = OcspAnswer(True, plans.NOW, plans.NOW + timedelta(hours=1))
    answered = responder.respond(ocsp.request_about(root.certificate, "ab"), [answer], plans.NOW)
    assert library.load_der_ocsp_response(answered).certificate_status is library.OCSPCertStatus.GOOD
    request = cacert.request(root.certificate.subject, root.private_key)
    assert request.is_signature_valid
    assert keys.same_key(request, root.certificate)


def test_a_key_is_the_same_for_whoever_opens_it_again(settings: TokenSettings, drivers: InstalledKeyDrivers) -> None:
    kept = drivers.make("pkcs11", KeyKind.ECDSA_P256, "again")
    assert kept == KeptKey("pkcs11:again")
    other = key_drivers.installed(PlainBox(), settings)
    assert keys.same_key(drivers.open(kept), other.open(kept).public_key())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_a_key_never_comes_out(settings: TokenSettings, drivers: InstalledKeyDrivers, kind: KeyKind) -> None:
    from pkcs11 import Attribute, ObjectClass
    from pkcs11.exceptions import AttributeSensitive

    label = f"stays {kind.value}"
    private_key = drivers.open(drivers.make("pkcs11", kind, label))
    with pytest.raises(UnsupportedAlgorithm, match="token"):
        private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert copy(private_key) is deepcopy(private_key) is private_key

    def look(held: object) -> tuple[bool, bool, bool]:
        found = held.session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)  # type: ignore[attr-defined]
        secret = Attribute.PRIVATE_EXPONENT if kind is KeyKind.RSA_2048 else Attribute.VALUE
        with pytest.raises(AttributeSensitive):
            _ = found[secret]
        return found[Attribute.EXTRACTABLE], found[Attribute.SENSITIVE], found[Attribute.NEVER_EXTRACTABLE]

    assert Token(settings)._with(look) == (False, True, True)


def test_what_a_token_does_not_do_is_said(drivers: InstalledKeyDrivers) -> None:
    with pytest.raises(UpstreamRejected, match="ML-DSA-44"):
        drivers.make("pkcs11", KeyKind.ML_DSA_44, "pq")
    rsa_key, ec_key = _made(drivers, KeyKind.RSA_2048), _made(drivers)
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for ask in (
        lambda: rsa_key.sign(b"x", pss, hashes.SHA256()),
        lambda: rsa_key.sign(b"x", padding.PKCS1v15(), hashes.SHA3_256()),
        lambda: rsa_key.decrypt(b"x", padding.PKCS1v15()),
        rsa_key.private_numbers,
        ec_key.private_numbers,
        lambda: ec_key.exchange(ec.ECDH(), ec_key.public_key()),
    ):
        with pytest.raises(UnsupportedAlgorithm, match="token"):
            ask()


def test_a_label_is_given_once_and_a_key_that_is_not_there_is_not_found(token: Token) -> None:
    token.make(KeyKind.ECDSA_P256, "once")
    with pytest.raises(Conflict, match="once"):
        token.make(KeyKind.ECDSA_P256, "once")
    with pytest.raises(NotFound, match="never"):
        token.open("never")
    assert token.open("once")


def test_a_wrong_pin_is_tried_once(module_path: Path, settings: TokenSettings) -> None:
    """In a process of its own: a login holds for all of a process."""
    script = (
        "import sys; from pathlib import Path\n"
        "from certctl_adapters.pkcs11 import Token, TokenSettings\n"
        "from certctl_core.errors import NotConfigured\n"
        "token = Token(TokenSettings(Path(sys.argv[1]), sys.argv[2], '0000'))\n"
        "opened = []\n"
        "for _ in range(3):\n"
        "    try: token.check()\n"
        "    except NotConfigured as no: opened.append(str(no))\n"
        "from pkcs11 import exceptions\n"
        "token._settings = TokenSettings(Path(sys.argv[1]), sys.argv[2], sys.argv[3]); token._refused = ''\n"
        "token.check()\n"
        "print(len(opened), len(set(opened)), 'PinIncorrect' in opened[0])\n"
    )
    command = [sys.executable, "-c", script, str(module_path), settings.token, settings.pin]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["3", "1", "True"], done.stderr


def test_a_token_or_library_that_is_not_there_is_told(
    module_path: Path, settings: TokenSettings, tmp_path: Path
) -> None:
    with pytest.raises(UpstreamUnavailable, match="no token 'other'"):
        Token(TokenSettings(module_path, "other", PIN)).check()
    with pytest.raises(NotConfigured, match="no PKCS #11 library"):
        Token(TokenSettings(tmp_path / "none.so", settings.token, PIN)).check()


def test_without_a_token_its_keys_are_not_made_and_not_opened() -> None:
    bare = key_drivers.installed(PlainBox(), None)
    for ask in (
        lambda: bare.make("pkcs11", KeyKind.ECDSA_P256, "x"),
        lambda: bare.open(KeptKey("pkcs11:x")),
    ):
        with pytest.raises(NotConfigured, match="pkcs11") as caught:
            ask()
        assert "CERTCTL_PKCS11_MODULE" in caught.value.hint
    with pytest.raises(Invalid, match="floppy"):
        bare.make("floppy", KeyKind.ECDSA_P256, "x")
    kept = bare.make("sealed", KeyKind.ECDSA_P256, "x")
    assert bare.open(kept).public_key()


def test_the_pin_is_in_no_repr(settings: TokenSettings, drivers: InstalledKeyDrivers) -> None:
    for thing in (settings, drivers, Token(settings), _made(drivers)):
        assert PIN not in repr(thing)


# --- threads, forks, and a token that goes away -----------------------------------------------------------------------


def test_threads_sign_at_the_same_time(drivers: InstalledKeyDrivers) -> None:
    root = _root(drivers)
    together = threading.Barrier(8)

    def sign(number: int) -> bool:
        together.wait(10)
        leafs = [ca.sign_leaf(root, plans.plan(serial_number=f"{number * 100 + one + 1:x}")) for one in range(20)]
        return all(reading.is_issued_by(leaf, root.certificate) for leaf in leafs)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(sign, range(8)))


def test_a_forked_process_opens_sessions_of_its_own(drivers: InstalledKeyDrivers) -> None:
    root = _root(drivers)
    ca.sign_leaf(root, plans.plan())
    child = os.fork()
    if child == 0:
        signed = False
        try:
            signed = reading.is_issued_by(ca.sign_leaf(root, plans.plan(serial_number="2")), root.certificate)
        finally:
            os._exit(0 if signed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reading.is_issued_by(ca.sign_leaf(root, plans.plan(serial_number="3")), root.certificate)


def test_a_token_that_has_forgotten_us_is_opened_again(settings: TokenSettings, drivers: InstalledKeyDrivers) -> None:
    """As after a daemon behind the library was started anew: every session and login is gone."""
    import pkcs11

    root = _root(drivers)
    ca.sign_leaf(root, plans.plan())
    pkcs11.lib(str(settings.module)).reinitialize()
    assert reading.is_issued_by(ca.sign_leaf(root, plans.plan(serial_number="2")), root.certificate)


def test_a_token_that_is_gone_says_so_and_is_used_when_it_is_back(
    settings: TokenSettings, drivers: InstalledKeyDrivers, tmp_path: Path
) -> None:
    import pkcs11

    root = _root(drivers)
    tokens = Path(os.environ["SOFTHSM2_CONF"]).parent / "tokens"
    tokens.rename(tmp_path / "elsewhere")
    tokens.mkdir()
    pkcs11.lib(str(settings.module)).reinitialize()
    try:
        with pytest.raises(CertctlError) as caught:
            ca.sign_leaf(root, plans.plan())
        assert isinstance(caught.value, UpstreamUnavailable), caught.value
    finally:
        shutil.rmtree(tokens)
        (tmp_path / "elsewhere").rename(tokens)
    pkcs11.lib(str(settings.module)).reinitialize()
    assert reading.is_issued_by(ca.sign_leaf(root, plans.plan(serial_number="2")), root.certificate)


def test_greenlets_do_not_wait_for_a_token(settings: TokenSettings) -> None:
    """A process of gevent signs in other threads, so that its loop goes on."""
    script = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, threading, gevent; from pathlib import Path\n"
        "from certctl_adapters import pkcs11 as adapter\n"
        "from certctl_core.pki.keys import KeyKind\n"
        "token = adapter.Token(adapter.TokenSettings(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))\n"
        "token.make(KeyKind.ECDSA_P256, 'greenlets')\n"
        "key = token.open('greenlets')\n"
        "from cryptography.hazmat.primitives import hashes; from cryptography.hazmat.primitives.asymmetric import ec\n"
        "names = set()\n"
        "original = adapter._private_key\n"
        "def seen(held, label):\n"
        "    names.add(monkey.get_original('threading', 'get_ident')() == main); return original(held, label)\n"
        "main = monkey.get_original('threading', 'get_ident')()\n"
        "adapter._private_key = seen\n"
        "jobs = [gevent.spawn(key.sign, b'x', ec.ECDSA(hashes.SHA256())) for _ in range(50)]\n"
        "gevent.joinall(jobs, raise_error=True)\n"
        "for job in jobs: key.public_key().verify(job.value, b'x', ec.ECDSA(hashes.SHA256()))\n"
        "print(names)\n"
    )
    command = [sys.executable, "-c", script, str(settings.module), settings.token, settings.pin]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "{False}", done.stderr


def test_an_issuer_makes_its_root_in_the_token_and_every_replica_signs_with_it(drivers: InstalledKeyDrivers) -> None:
    store, clock = MemoryStore(), MovableClock(plans.NOW)
    configured = ConfiguredIssuer(
        id=IssuerId("iss-hsm"),
        name="Token CA",
        type="GenericCA",
        config={"ca_key_driver_id": "pkcs11"},
        created_at=plans.NOW,
        updated_at=plans.NOW,
    )
    with store.work() as work:
        work.issuers.add(configured)
    issued = [
        InstalledIssuers(store.work, PlainBox(), clock, drivers).connect(configured).issue(contract.request())
        for _ in range(2)
    ]
    assert all(isinstance(one, Issued) for one in issued)
    with store.work() as work:
        (stored,) = work.authorities.of_issuer(configured.id)
        assert work.authorities.any_sealed() is None
    assert stored.key_driver_id.startswith("pkcs11:")
    assert stored.sealed_key is None
    root = reading.certificate(stored.chain[0])
    assert all(reading.is_issued_by(one.certificate, root) for one in issued if isinstance(one, Issued))
    registry = InstalledIssuers(store.work, PlainBox(), clock, drivers)
    registry.connect(configured)
    assert registry.at_hand(configured) is None, "a token has to be waited for"
    bare = InstalledIssuers(store.work, PlainBox(), clock)
    with pytest.raises(NotConfigured, match="pkcs11"):
        bare.connect(configured)
