"""Patterns match as Python's regular expressions do, in time that grows with pattern and name and no faster."""

import re
import time
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.policy import patterns
from certctl_core.policy.patterns import pattern

PARTS = st.recursive(
    st.sampled_from(["a", "b", "-", r"\.", ".", "[ab]", "[^a]", "[a-z0-9-]", r"\d", r"\w", ""]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)


@given(PARTS, st.lists(st.text("ab.-1Z", max_size=8), max_size=5))
def test_a_pattern_matches_what_python_matches(text: str, names: list[str]) -> None:
    for name in names:
        assert pattern(text).matches(name) == (re.fullmatch(text, name) is not None)
        assert pattern(f"^{text}$").matches(name) == pattern(text).matches(name)


@given(st.text(r"ab.*+?()|[]{}1,-^$\d", max_size=12), st.text("ab1.", max_size=6))
def test_any_text_is_a_pattern_or_refused(text: str, name: str) -> None:
    assume(_is_ours(text))
    found = pattern(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        inner = text.removeprefix("^")
        assume(_is_python(inner))
        assert found.matches(name) == (re.fullmatch(inner, name) is not None)


def _is_ours(text: str) -> bool:
    try:
        pattern(text)
    except Invalid:
        return False
    return True


def _is_python(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "name", "length"),
    [
        ("(a*)*b", "a", 1000),
        ("(a|a)*b", "a", 1000),
        ("(a|aa)+$", "a", 1000),
        (".*.*.*.*.*.*x", "a", 253),
        ("(a?){100}a{100}", "a", 100),
    ],
)
def test_patterns_that_stop_a_backtracking_matcher_take_no_time(text: str, name: str, length: int) -> None:
    started = time.perf_counter()
    found = pattern(text).matches(name * length)
    assert time.perf_counter() - started < 2
    assert found == (text in ("(a|aa)+$", "(a?){100}a{100}"))


@pytest.mark.parametrize(
    "text",
    [
        "*.example.com",
        "a**",
        "(",
        ")",
        "(a",
        "[a",
        "[]",
        "[z-a]",
        "a{",
        "a{2",
        "a{3,1}",
        "a{1000}",
        "a{x}",
        "\\",
        r"\b",
        r"\1",
        r"\A",
        "(?=a)",
        "(?i)a",
        "a^b",
        "a$b",
        "ü",
        "a" * 513,
        "(" * 30 + ")" * 30,
        "((a{999}){999}){999}",
    ],
)
def test_what_is_no_pattern_here_is_refused_with_words(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        pattern(text)
    assert caught.value.message


def test_repetitions_of_nothing_are_nothing() -> None:
    assert pattern("((((){999}){999}){999}){999}").matches("")
    assert not pattern("(){999}").matches("a")


def test_names_with_characters_outside_ascii_match_nothing() -> None:
    assert not pattern(".*").matches("bücher")
    assert not pattern("[^a]").matches("ü")


def test_a_pattern_is_made_once() -> None:
    assert pattern("a+") is pattern("a+")
    assert patterns.MAX_PATTERN == 512
