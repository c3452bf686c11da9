"""Keys in a PKCS #11 token: made there, used there, and never anywhere else (PKCS #11 2.40, OASIS).

A token is a device or a file behind a library that its maker gives. What it signs with is found by label. RSA signs
PKCS #1 v1.5, ECDSA and Ed25519 as their standards say; the hash is worked out here, so that a CRL of 50 megabytes does
not travel to a device. A token's ECDSA signatures are random: signing the same bytes again gives another signature.

A process has one session, which is opened when it is needed, so after any fork; a child that has inherited one forgets
it. One call at a time goes into the library, since bindings do not tell it that there are threads. Calls block: in a
process of gevent they run in its pool of threads, and other requests go on meanwhile. When the token does not know the
session any more, because it was pulled out or its daemon was started anew, everything is opened again, once. A PIN that
was refused is not tried a second time, since tokens lock themselves after a few.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from attrs import define, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from certctl_core.errors import Conflict, NotConfigured, NotFound, UpstreamRejected, UpstreamUnavailable
from certctl_core.pki import keys
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.ports.signer import KeptKey, refused_kind

NAME: Final = "pkcs11"
T = TypeVar("T")

_RSA_BITS: Final = {KeyKind.RSA_2048: 2048, KeyKind.RSA_3072: 3072, KeyKind.RSA_4096: 4096}
_CURVES: Final = {KeyKind.ECDSA_P256: "secp256r1", KeyKind.ECDSA_P384: "secp384r1"}
_ED25519: Final = "1.3.101.112"
# DER of a DigestInfo up to the digest (RFC 8017 section 9.2, note 1).
_DIGEST_INFO: Final = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_HASH_OF_SIZE: Final = {32: "sha256", 48: "sha384", 64: "sha512"}


@frozen
class TokenSettings:
    """The library's file, the token's label and the PIN of its user."""

    module: Path
    token: str
    pin: str = field(repr=False)


@define
class _Session:
    """One session, and the keys that were looked up in it."""

    session: Any
    keys: dict[str, Any] = field(factory=dict)


class Token:
    """One token of one library. Threads, greenlets and forked processes may share it. Every method blocks.

    Needs the package python-pkcs11 (extra `pkcs11`), which is imported when the token is first used.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._session: _Session | None = None
        self._refused = ""

    # --- keys ---------------------------------------------------------------------------------------------------------

    def make(self, kind: KeyKind, label: str) -> KeptKey:
        """A fresh key that cannot be taken out. Raises `Conflict` when there is one of this label."""

        def run(held: _Session) -> None:
            if _find(held, label) is not None:
                raise Conflict(f"the token has a key {label!r} already")
            _generate(held.session, kind, label)

        self._with(run)
        return KeptKey(f"{NAME}:{label}")

    def open(self, label: str) -> PrivateKey:
        """Raises `NotFound` when there is no such key, `Refused` for a weak one."""
        public_key = self._with(lambda held: _public_key(held, label))
        keys.require_sound(public_key)
        if isinstance(public_key, rsa.RSAPublicKey):
            return TokenRsaKey(self, label, public_key)
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            return TokenEcKey(self, label, public_key)
        return TokenEdKey(self, label, public_key)

    def sign(self, label: str, mechanism: str, data: bytes) -> bytes:
        """A signature as the mechanism gives it."""
        from pkcs11 import Mechanism

        chosen = Mechanism[mechanism]
        signed = self._with(lambda held: _private_key(held, label).sign(data, mechanism=chosen))
        return bytes(signed)

    def check(self) -> None:
        """Raises what using the token would."""
        self._with(lambda _: None)

    # --- the session --------------------------------------------------------------------------------------------------

    def _with(self, run: Callable[[_Session], T]) -> T:
        """`run` with the session, and once more with a fresh one where the token has lost it."""
        with _alone():
            return _off_the_loop(lambda: self._tried(run))

    def _tried(self, run: Callable[[_Session], T]) -> T:
        library = self._library()
        import pkcs11

        if self._pid != os.getpid():
            # What was opened before the fork is the parent's, and the library wants to be initialised in the child.
            self._start_over(library)
        try:
            return run(self._opened())
        except pkcs11.PKCS11Error as problem:
            if not _is_lost(problem):
                _give_up(problem)
        self._start_over(library)
        try:
            return run(self._opened())
        except pkcs11.PKCS11Error as problem:
            _give_up(problem)

    def _start_over(self, library: Any) -> None:
        self._pid, self._session = os.getpid(), None
        with suppress(Exception):
            library.reinitialize()

    def _opened(self) -> _Session:
        """The session, in which the user is logged in. It stays open."""
        import pkcs11

        if self._session is not None:
            return self._session
        if self._refused:
            raise NotConfigured(self._refused, hint=_MEND)
        token = self._token()
        try:
            opened = token.open(rw=True, user_pin=self._settings.pin)
        except pkcs11.UserAlreadyLoggedIn:
            opened = token.open(rw=True)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLocked, pkcs11.PinLenRange, pkcs11.PinExpired) as no:
            self._refused = f"the PKCS #11 token refuses the PIN: {type(no).__name__}"
            raise NotConfigured(self._refused, hint=_MEND) from no
        self._session = _Session(opened)
        return self._session

    def _token(self) -> Any:
        import pkcs11

        try:
            return self._library().get_token(token_label=self._settings.token)
        except pkcs11.NoSuchToken as problem:
            raise UpstreamUnavailable(
                f"there is no token {self._settings.token!r} behind {self._settings.module}",
                hint="Is it plugged in, and initialised under that label?",
            ) from problem

    def _library(self) -> Any:
        try:
            import pkcs11
        except ImportError as problem:
            raise NotConfigured(
                "keys in PKCS #11 tokens need the package python-pkcs11", hint="Install certctl[pkcs11]."
            ) from problem
        try:
            return pkcs11.lib(str(self._settings.module))
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as problem:
            raise NotConfigured(f"{self._settings.module} is no PKCS #11 library: {problem}") from problem


_MEND: Final = "Mend CERTCTL_PKCS11_PIN and start again."
_LOCKS: Final[dict[int, threading.Lock]] = {}


@contextmanager
def _alone() -> Iterator[None]:
    """One call of a process into a library at a time: it is initialised without a word on threads, and then need not
    stand them (PKCS #11 section 5.4). A lock for each process, because another one may be held in a parent that
    forks."""
    with _LOCKS.setdefault(os.getpid(), threading.Lock()):
        yield


def _give_up(problem: Exception) -> NoReturn:
    words = f"{type(problem).__name__} {problem}".strip()
    if _is_lost(problem):
        raise UpstreamUnavailable(f"the PKCS #11 token does not answer: {words}") from problem
    raise UpstreamRejected(f"the PKCS #11 token refuses: {words}") from problem


def _off_the_loop(run: Callable[[], T]) -> T:
    """Outside of the greenlets of gevent where this process has them: a device may take its time."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return run()
    import gevent

    result: T = gevent.get_hub().threadpool.apply(run)
    return result


def _is_lost(problem: Exception) -> bool:
    """Whether the token does not know us any more, rather than refusing what it was asked."""
    import pkcs11

    lost = (
        pkcs11.SessionHandleInvalid,
        pkcs11.SessionClosed,
        pkcs11.UserNotLoggedIn,
        pkcs11.KeyHandleInvalid,
        pkcs11.ObjectHandleInvalid,
        pkcs11.DeviceRemoved,
        pkcs11.DeviceError,
        pkcs11.TokenNotPresent,
        pkcs11.SlotIDInvalid,
        pkcs11.GeneralError,
        pkcs11.FunctionFailed,
    )
    return isinstance(problem, lost) or "NOT_INITIALIZED" in str(problem).upper()


# --- objects of a token -----------------------------------------------------------------------------------------------


def _find(held: _Session, label: str) -> Any:
    from pkcs11 import NoSuchKey, ObjectClass

    if label not in held.keys:
        try:
            held.keys[label] = held.session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)
        except NoSuchKey:
            return None
    return held.keys[label]


def _private_key(held: _Session, label: str) -> Any:
    found = _find(held, label)
    if found is None:
        raise NotFound(f"the token has no key {label!r}")
    return found


def _public_key(held: _Session, label: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    from pkcs11 import Attribute, KeyType, NoSuchKey, ObjectClass
    from pkcs11.util.ec import encode_ec_public_key
    from pkcs11.util.rsa import encode_rsa_public_key

    kind = _private_key(held, label).key_type
    try:
        found = held.session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=label)
    except NoSuchKey as problem:
        raise NotFound(f"the token has the private key {label!r} without its public key") from problem
    if kind is KeyType.EC_EDWARDS:
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes(found[Attribute.EC_POINT])[-32:])
    der = encode_rsa_public_key(found) if kind is KeyType.RSA else encode_ec_public_key(found)
    read = serialization.load_der_public_key(der)
    if isinstance(read, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return read
    raise UpstreamRejected(f"the key {label!r} of the token is of a kind that does not sign certificates")


def _generate(session: Any, kind: KeyKind, label: str) -> None:
    """Made in the token, for signing alone, never to leave it: CKA_SENSITIVE, not CKA_EXTRACTABLE."""
    from pkcs11 import Attribute, KeyType, Mechanism
    from pkcs11.util.ec import encode_named_curve_parameters

    private = {
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.PRIVATE: True,
        Attribute.SIGN: True,
        Attribute.DECRYPT: False,
        Attribute.UNWRAP: False,
        Attribute.DERIVE: False,
    }
    how: dict[str, Any] = {"store": True, "label": label, "id": label.encode(), "private_template": private}
    if kind in _RSA_BITS:
        del private[Attribute.DERIVE]
        session.generate_keypair(KeyType.RSA, _RSA_BITS[kind], **how)
        return
    del private[Attribute.DECRYPT], private[Attribute.UNWRAP]
    if kind in _CURVES:
        curve, family = _CURVES[kind], KeyType.EC
    elif kind is KeyKind.ED25519:
        curve, family = _ED25519, KeyType.EC_EDWARDS
        how["mechanism"] = Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    else:
        raise refused_kind(kind, "PKCS #11 2.40 has none")
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
    session.create_domain_parameters(family, parameters, local=True).generate_keypair(**how)


# --- keys as cryptography has them ------------------------------------------------------------------------------------


def _stays(what: str) -> NoReturn:
    raise UnsupportedAlgorithm(f"the key is in a PKCS #11 token: {what}")


def _digest(algorithm: Any, data: bytes) -> tuple[str, bytes]:
    """The name of the hash and the hash, which long data comes as already."""
    if isinstance(algorithm, Prehashed) and len(data) == algorithm.digest_size:
        return _HASH_OF_SIZE[algorithm.digest_size], data
    if not isinstance(algorithm, hashes.HashAlgorithm) or algorithm.name not in _DIGEST_INFO:
        _stays("it signs SHA-256, SHA-384 and SHA-512")
    hashed = hashes.Hash(algorithm)
    hashed.update(data)
    return algorithm.name, hashed.finalize()


class _InToken:
    """What keys of every kind have in common: nothing of them comes out."""

    def __init__(self, token: Token, label: str, public_key: Any) -> None:
        self._token = token
        self._label = label
        self._public_key = public_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._label!r})"

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def public_key(self) -> Any:
        return self._public_key

    def private_numbers(self) -> Any:
        _stays("its numbers are not to be had")

    def private_bytes(self, *_: Any, **__: Any) -> bytes:
        _stays("it cannot be written")


class TokenRsaKey(_InToken, rsa.RSAPrivateKey):
    """An RSA key that signs PKCS #1 v1.5."""

    @property
    def key_size(self) -> int:
        size: int = self._public_key.key_size
        return size

    def sign(self, data: Any, padding_: Any, algorithm: Any) -> bytes:
        if not isinstance(padding_, padding.PKCS1v15):
            _stays("it signs with the padding of PKCS #1 v1.5 only")
        name, digest = _digest(algorithm, bytes(data))
        return self._token.sign(self._label, "RSA_PKCS", _DIGEST_INFO[name] + digest)

    def decrypt(self, ciphertext: bytes, padding: Any) -> bytes:  # noqa: ARG002 - the library's words
        _stays("it does not decrypt")


class TokenEcKey(_InToken, ec.EllipticCurvePrivateKey):
    """An elliptic curve key that signs ECDSA, at random: no token is known to follow RFC 6979 when asked to."""

    @property
    def curve(self) -> ec.EllipticCurve:
        found: ec.EllipticCurve = self._public_key.curve
        return found

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        _, digest = _digest(signature_algorithm.algorithm, bytes(data))
        raw = self._token.sign(self._label, "ECDSA", digest)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def exchange(self, algorithm: Any, peer_public_key: Any) -> bytes:  # noqa: ARG002 - the library's words
        _stays("it agrees on no secrets")


class TokenEdKey(_InToken, ed25519.Ed25519PrivateKey):
    """An Ed25519 key."""

    def sign(self, data: Any) -> bytes:
        return self._token.sign(self._label, "EDDSA", bytes(data))

    def private_bytes_raw(self) -> bytes:
        _stays("it cannot be written")
