"""Checkpoints: what a log contains, signed, as a text that can be kept anywhere.

    certctl/audit/3f9a1c2b4d5e                     origin: which log this is
    20852163                                       how many leaves
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=   the root above them
    time 2031-03-04T05:06:07.000000Z               when it was signed

    - certctl/audit/3f9a1c2b4d5e Az3grlgtzPICa5OS8npV...

The form is that of transparency logs: a signed note (https://c2sp.org/signed-note) whose text is a checkpoint
(https://c2sp.org/tlog-checkpoint) with one extension line, the time. The dash is an em dash; signatures are Ed25519
(RFC 8032). Programs for such logs verify ours when they are given the verifier key, which is how such logs publish
their keys.
"""

import base64
import binascii
import re
from datetime import datetime
from hashlib import sha256
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certctl_core.errors import Unreadable
from certctl_core.models.trail import Checkpoint, time_text
from certctl_core.pki.merkle import HASH_SIZE

MAX_NOTE: Final = 1 << 16
ORIGIN: Final = "certctl/audit/"

_ED25519: Final = b"\x01"
_KEY_ID_SIZE: Final = 4
_NAME: Final = re.compile(r"[^\s+]+")
_SIGNATURE: Final = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_TIME: Final = re.compile(r"time (?P<at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6})Z")


@frozen
class Verifier:
    """The public key of a log and the name it signs by. Without a name it verifies the notes of any."""

    key: Ed25519PublicKey = field(repr=False)
    name: str = ""

    @property
    def raw(self) -> bytes:
        return self.key.public_bytes_raw()

    @property
    def pem(self) -> str:
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def __str__(self) -> str:
        """The verifier key: name, key id and key, such as `certctl/audit/3f9a1c2b4d5e+94f5aa1c+AQ...`."""
        encoded = base64.b64encode(_ED25519 + self.raw).decode()
        return f"{self.name}+{_key_id(self.name, self.raw).hex()}+{encoded}"

    def check(self, note: str) -> Checkpoint:
        """The checkpoint that a note tells. Raises `Unreadable` for one that is malformed or not signed by this key."""
        text, signatures = _parts(note)
        for name, key_id, signature in signatures:
            if name == (self.name or name) and key_id == _key_id(name, self.raw):
                try:
                    self.key.verify(signature, text.encode())
                except InvalidSignature:
                    raise Unreadable(f"the signature of {name} on a checkpoint is wrong") from None
                return _told(text, note)
        signers = ", ".join(name for name, _, _ in signatures)
        raise Unreadable(
            f"the checkpoint is signed by {signers} with another key than the one expected",
            hint=f"Expected: {self}",
        )


def origin_of(key: Ed25519PublicKey) -> str:
    """A name for the log whose first key this is. No two logs have the same."""
    return ORIGIN + sha256(key.public_bytes_raw()).hexdigest()[:12]


def sign(key: Ed25519PrivateKey, name: str, tree_size: int, root_hash: bytes, at: datetime) -> Checkpoint:
    """A signed checkpoint of the log of this name."""
    root = base64.b64encode(root_hash).decode()
    text = f"{name}\n{tree_size}\n{root}\ntime {time_text(at)}\n"
    public = key.public_key().public_bytes_raw()
    signature = base64.b64encode(_key_id(name, public) + key.sign(text.encode())).decode()
    return Checkpoint(tree_size=tree_size, root_hash=root_hash, created_at=at, note=f"{text}\n— {name} {signature}\n")


def origin(note: str) -> str:
    """Which log a note claims to be of. Raises `Unreadable`."""
    return _parts(note)[0].partition("\n")[0]


def verifier(text: str) -> Verifier:
    """Read a verifier key, or a public key in PEM. Raises `Unreadable`."""
    text = text.strip()
    if text.startswith("-----BEGIN"):
        return Verifier(_key_of_pem(text))
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _base64(encoded)
    if not _NAME.fullmatch(name) or raw[:1] != _ED25519 or len(raw) != 1 + 32:
        raise Unreadable("this is no verifier key of Ed25519, such as NAME+1a2b3c4d+AQ..., and no public key in PEM")
    if _key_id(name, raw[1:]).hex() != key_id.lower():
        raise Unreadable("the verifier key is damaged: its key id is not that of its name and key")
    return Verifier(Ed25519PublicKey.from_public_bytes(raw[1:]), name)


def _key_of_pem(text: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(text.encode())
    except ValueError:
        raise Unreadable("the public key cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise Unreadable("the public key is not one of Ed25519")
    return key


def _key_id(name: str, raw: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:_KEY_ID_SIZE]


def _parts(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The text that is signed, and who signed it: name, key id and signature."""
    text, blank, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if len(note) > MAX_NOTE or not blank or len(lines) < 2 or lines[-1]:
        raise Unreadable("this is no signed note: a text, an empty line, and lines with signatures")
    signatures = []
    for line in lines[:-1]:
        found = _SIGNATURE.fullmatch(line)
        decoded = _base64(found["signature"]) if found else b""
        if found is None or len(decoded) <= _KEY_ID_SIZE:
            raise Unreadable("a line below the empty line of the note is no signature")
        signatures.append((found["name"], decoded[:_KEY_ID_SIZE], decoded[_KEY_ID_SIZE:]))
    return text + "\n", signatures


def _told(text: str, note: str) -> Checkpoint:
    lines = text.split("\n")[:-1]
    root = _base64(lines[2]) if len(lines) > 2 else b""
    time = next((found for line in lines[3:] if (found := _TIME.fullmatch(line))), None)
    if len(root) != HASH_SIZE or not _SIZE.fullmatch(lines[1]) or time is None or not all(lines):
        raise Unreadable("the note is no checkpoint: origin, size, root and time, one a line")
    try:
        at = datetime.fromisoformat(time["at"] + "+00:00")
    except ValueError:
        raise Unreadable("the time of the checkpoint is none of the calendar") from None
    return Checkpoint(tree_size=int(lines[1]), root_hash=root, created_at=at, note=note)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("what should be base64 is not") from None
