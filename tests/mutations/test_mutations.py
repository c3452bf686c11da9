"""Whatever is done to a valid input, its reader gives a value or an error that it may give, soon and in little memory.

`nox -s nightly` has many more read, new ones every time. What it finds is printed in full, and gets a test of its own
among those of the reader.
"""

import os

import pytest

from tests.mutations import growing
from tests.mutations.readers import READERS

IN_TESTS = 5_000
INPUTS = int(os.environ.get("CERTCTL_MUTATIONS", IN_TESTS))
IS_NIGHT = INPUTS > IN_TESTS

NAMES = [name for name, reader in READERS.items() if IS_NIGHT or not reader.is_for_the_night]


@pytest.mark.timeout(300 + INPUTS // 50)
@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_input_is_read_or_refused(name: str) -> None:
    with growing.reader_process(name) as process:
        growing.grow(process, INPUTS, anew=IS_NIGHT)
        assert process.outcomes.total() >= INPUTS
        assert set(process.outcomes) <= {"read", *(error.__name__ for error in READERS[name].errors)}
        # Mutations that never get through, or always, try nothing.
        assert 0 < process.outcomes["read"] < INPUTS // 2


@pytest.mark.parametrize(
    ("does", "words"),
    [("raise", "ZeroDivisionError"), ("hang", "hung"), ("end", "ended with 3"), ("swell", "took [0-9]{5} KiB")],
)
def test_a_reader_that_does_what_it_must_not_is_noticed(does: str, words: str) -> None:
    with growing.reader_process(does, patience=3.0) as process:
        process.read([b"y"])
        with pytest.raises(growing.Broken, match=words):
            process.read([b"x"])
        process.read([b"y"])
