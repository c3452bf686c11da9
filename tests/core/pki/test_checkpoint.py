"""Checkpoints: what is signed is read back, what was changed is refused, and other programs read the same."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Unreadable
from certctl_core.pki import checkpoint
from certctl_core.pki.checkpoint import Verifier
from tests.plans import mutations, only_typed_errors

AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
ROOT = bytes(range(32, 64))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = checkpoint.origin_of(KEY.public_key())
VERIFIER = Verifier(KEY.public_key(), NAME)

# Opened with golang.org/x/mod/sumdb/note and this verifier key.
GOLDEN_KEY = "certctl/audit/56475aa75463+e0109529+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
GOLDEN = """\
certctl/audit/56475aa75463
20852163
ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=
time 2031-03-04T05:06:07.000000Z

— certctl/audit/56475aa75463 \
4BCVKQNYiJ8DWiTg72avgG3qOiNG4JW6iL7AYnybPfoemfvb5bcGQ7K2/mDthCAraO2bNFmW1/j59hje095SrJOV2AI=
"""


def test_notes_and_keys_are_those_of_other_logs() -> None:
    assert checkpoint.sign(KEY, NAME, 20852163, ROOT, AT).note == GOLDEN
    assert str(VERIFIER) == GOLDEN_KEY
    assert checkpoint.origin(GOLDEN) == NAME


@given(st.integers(0, 1 << 50), st.binary(min_size=32, max_size=32), st.datetimes(timezones=st.just(UTC)))
def test_what_is_signed_is_read_back(size: int, root: bytes, at: datetime) -> None:
    signed = checkpoint.sign(KEY, NAME, size, root, at)
    assert VERIFIER.check(signed.note) == signed


@pytest.mark.parametrize("text", [GOLDEN_KEY, f"  {GOLDEN_KEY}\n", VERIFIER.pem])
def test_either_form_of_the_key_verifies(text: str) -> None:
    assert checkpoint.verifier(text).check(GOLDEN).tree_size == 20852163


@pytest.mark.parametrize(
    "text",
    [
        "",
        NAME,
        GOLDEN_KEY[:-1],
        GOLDEN_KEY.replace("e0109529", "e0109528"),
        GOLDEN_KEY.replace("+AQ", "+AA"),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        checkpoint.verifier(text)


@pytest.mark.parametrize(
    ("what", "by"),
    [
        ("20852163", "20852164"),
        ("ICEi", "ICEj"),
        ("05:06:07", "05:06:08"),
        ("time ", "an extension line\ntime "),
        ("4BCVKQNY", "4BCVKQNZ"),
    ],
)
def test_a_changed_checkpoint_is_refused(what: str, by: str) -> None:
    with pytest.raises(Unreadable, match="wrong"):
        VERIFIER.check(GOLDEN.replace(what, by))


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    for name in (NAME, "another/log"):
        with pytest.raises(Unreadable, match="another key"):
            VERIFIER.check(checkpoint.sign(other, name, 5, ROOT, AT).note)
    with pytest.raises(Unreadable, match="another key"):
        VERIFIER.check(checkpoint.sign(KEY, "another/log", 5, ROOT, AT).note)


def test_signatures_of_witnesses_are_passed_over() -> None:
    witness = "— witness.example/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ\n"
    text, _, signatures = GOLDEN.rpartition("\n\n")
    assert VERIFIER.check(f"{text}\n\n{witness}{signatures}").root_hash == ROOT
    assert VERIFIER.check(f"{text}\n\n{signatures}{witness}").root_hash == ROOT


@pytest.mark.parametrize("lines", [["x"], ["x", "5"], ["x", "05", "AAAA"], ["x", "5", "AAAA", "time now"]])
def test_a_note_that_is_no_checkpoint_is_refused_though_signed(lines: list[str]) -> None:
    whole = checkpoint.sign(KEY, NAME, 5, ROOT, AT)
    text = "".join(f"{line}\n" for line in lines)
    forged = checkpoint.sign(KEY, NAME, 5, ROOT, AT).note.partition("\n\n")[2]
    with pytest.raises(Unreadable):
        VERIFIER.check(f"{text}\n{forged}")
    assert VERIFIER.check(whole.note) == whole


@given(mutations(GOLDEN.encode()))
def test_whatever_is_read_is_refused_with_words(mutated: bytes) -> None:
    text = mutated.decode(errors="replace")
    with only_typed_errors():
        assert VERIFIER.check(text).tree_size == 20852163 or text == GOLDEN


@given(mutations(GOLDEN_KEY.encode()))
def test_whatever_key_is_read_is_refused_with_words(mutated: bytes) -> None:
    with only_typed_errors():
        checkpoint.verifier(mutated.decode(errors="replace"))
