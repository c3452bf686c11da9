"""Paths and name constraints: hundreds of chains are judged as the RFC says; nothing hostile is more than refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused
from certctl_core.pki import ca, constraints, names, paths, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from tests import chains, plans
from tests.chains import Ca, Case


@pytest.mark.parametrize(
    "family", [chains.path_lengths, chains.name_constraints, chains.faults], ids=lambda f: f.__name__
)
def test_every_chain_is_judged_as_the_rfc_says(family: object) -> None:
    wrong = [case.name for case in family() if bool(_judged(case)) != case.is_good]  # type: ignore[operator]
    assert wrong == []


def _judged(case: Case) -> paths.Judged:
    return paths.judge(case.leaf, case.pool, case.trusted, case.at, eku="clientAuth")


def test_a_refusal_says_why() -> None:
    limited = chains.chain([Ca(path_length=0), Ca()])
    made = chains.leaf(limited)
    judged = paths.judge(made.certificate, [limited.certificate], [limited.above[0].certificate])
    assert judged.path == ()
    assert any("may have 0 CAs below it" in problem for problem in judged.problems)


def test_a_maze_of_cross_signed_cas_is_given_up_in_time() -> None:
    """Twelve CAs of one name and key, each of which could have signed each: twelve factorial paths."""
    root = chains.ca("Maze", None, Ca(), "maze")
    maze = [chains.ca("Maze", root, Ca(), "maze").certificate for _ in range(12)]
    made = chains.leaf(chains.Made(maze[0], root.private_key, ()))
    stranger = chains.ca("Stranger", None, Ca()).certificate
    assert not paths.judge(made.certificate, maze, [stranger])


@given(plans.mutations(chains.leaf(chains.chain([Ca(), Ca(permitted=(x509.DNSName("example.com"),))])).above[0]
                       .certificate.public_bytes(Encoding.DER)))  # fmt: skip
def test_broken_cas_are_refused_with_words(broken: bytes) -> None:
    with plans.only_typed_errors():
        found = reading.certificate(broken)
        judged = paths.judge(plans.authority().certificate, [found], [found])
        assert judged.path or judged.problems
        paths.chain_problems((found, found))


# Constraints as text

TEXTS = (
    ("example.com", "DNS:example.com"),
    ("dns:Example.COM", "DNS:example.com"),
    ("10.0.0.0/8", "IP:10.0.0.0/8"),
    ("IP:2001:db8::/32", "IP:2001:db8::/32"),
    ("alice@example.com", "email:alice@example.com"),
    ("email:.example.com", "email:.example.com"),
    ("URI:example.com", "URI:example.com"),
    ("dirName:O=Example,C=DE", "dirName:O=Example,C=DE"),
)


@pytest.mark.parametrize(("text", "canonical"), TEXTS)
def test_a_constraint_is_read_as_it_is_written(text: str, canonical: str) -> None:
    assert constraints.text_of(constraints.subtree(text)) == canonical
    assert constraints.subtree(canonical) == constraints.subtree(text)


@pytest.mark.parametrize(
    "text", ["", "*.example.com", "10.0.0.1/8", "IP:example.com", "URI:https://example.com/", "dirName:", "dirName:x",
             "email:a b@example.com", "bücher.example", "DNS:192.0.2.1"]
)  # fmt: skip
def test_what_is_no_constraint_is_refused_by_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        constraints.extension(["example.com", text], [text])
    assert [problem.field for problem in caught.value.fields] == ["permitted[1]", "excluded[0]"]


@given(st.text(max_size=60))
def test_any_text_is_a_constraint_or_refused_with_words(text: str) -> None:
    with plans.only_typed_errors():
        found = constraints.subtree(text)
        assert constraints.subtree(constraints.text_of(found)) == found


# What a CA does not sign


def _limited(permitted: list[str], excluded: list[str]) -> Authority:
    return ca.create_intermediate(
        plans.authority(), "Limited", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR,
        name_constraints=constraints.extension(permitted, excluded),
    )  # fmt: skip


@pytest.mark.parametrize("sans", [["b.example.org"], ["a.example.com", "192.0.2.1"], ["secret.example.com"]])
def test_a_leaf_outside_the_names_is_refused_at_the_door(sans: list[str]) -> None:
    limited = _limited(["example.com", "10.0.0.0/8"], ["secret.example.com"])
    plan = plans.plan(common_name="", sans=names.general_names(sans), not_before=plans.NOW)
    with pytest.raises(Refused, match="does not certify this"):
        ca.sign_leaf(limited, plan)


def test_a_leaf_within_the_names_is_signed_and_its_path_is_right() -> None:
    limited = _limited(["example.com", "10.0.0.0/8"], ["secret.example.com"])
    made = ca.sign_leaf(limited, plans.plan(common_name="", sans=names.general_names(["a.example.com", "10.1.2.3"])))
    assert paths.chain_problems((made, *limited.chain), plans.NOW) == ()


def test_the_names_of_a_ca_further_up_hold_as_well() -> None:
    limited = _limited(["example.com"], [])
    with pytest.raises(Refused, match="in a path"):
        ca.create_intermediate(limited, "Below", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR)
    roomy = ca.create_intermediate(
        plans.authority(), "Roomy", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR, path_length=1,
        name_constraints=constraints.extension(["example.com"], []),
    )  # fmt: skip
    below = ca.create_intermediate(roomy, "Below", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR)
    with pytest.raises(Refused, match="does not certify this"):
        ca.sign_leaf(below, plans.plan(common_name="", sans=names.general_names(["example.org"])))


def test_a_ca_with_a_name_that_is_not_permitted_is_not_signed() -> None:
    limited = ca.create_intermediate(
        plans.authority(), "Limited", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR, path_length=1,
        name_constraints=constraints.extension(["dirName:O=Example,C=DE"], []),
    )  # fmt: skip
    with pytest.raises(Refused, match="does not certify this"):
        ca.create_intermediate(limited, "Elsewhere", KeyKind.ECDSA_P256, plans.NOW, chains.YEAR)


def test_a_ca_that_the_path_length_above_keeps_from_signing_is_no_ca() -> None:
    """A CA certificate at the end of a path may be right where it can have nothing below it."""
    tight = chains.chain([Ca(path_length=0), Ca()])
    below = chains.ca("Below", tight, Ca())
    with pytest.raises(Invalid, match="not a usable CA"):
        Authority((below.certificate, *(one.certificate for one in below.above)), below.private_key)
