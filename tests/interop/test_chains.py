"""Three judges of the same hundreds of chains: ours, the library's verifier and `openssl verify`.

Where another judge says something else than the RFC does, it is listed here with the reason, and whatever is listed has
to happen: a list that nobody checks grows stale.
"""

import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from certctl_core.pki import bundle, paths
from tests import chains
from tests.chains import Case
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

Reasons = Mapping[str, Callable[[Case], bool]]

LIBRARY: Final[Reasons] = {
    "it follows the profile of the Web PKI, which has no Ed25519": lambda case: "Ed25519" in case.name and case.is_good,
    "it does not know constraints on URIs and refuses what it does not know": lambda case: (
        "URI:" in case.name and case.is_good
    ),
    "it does not know constraints on directory names": lambda case: (
        case.is_good and ("dirName:" in case.name or case.name == "a self-issued CA whose own name is not permitted")
    ),
    "it does not look at key identifiers; the signature decides": lambda case: (
        "authorityKeyIdentifier" in case.name or "names another key" in case.name
    ),
    "it takes a self-issued CA for a root": lambda case: "a root, a self-issued CA and" in case.name and case.is_good,
    "it does not look for e-mail addresses in subjects": lambda case: "e-mail address in the subject" in case.name,
}
OPENSSL: Final[Reasons] = {
    "it takes what is before the @ of a URI for its host": lambda case: "https://user@" in case.name,
    "it does not see that a wildcard stands for an excluded name": lambda case: "wildcard over" in case.name,
    "it follows one path and does not come back to try another": lambda case: case.name.endswith(
        "cross-signed, new trusted"
    ),
}


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    return tuple(chains.all_cases())


def _disagreements(cases: tuple[Case, ...], verdicts: list[bool], known: Reasons) -> list[str]:
    """What is not explained, and explanations that explain nothing."""
    wrong = [case for case, verdict in zip(cases, verdicts, strict=True) if verdict != case.is_good]
    explained: Counter[str] = Counter()
    found: list[str] = []
    for case in wrong:
        reasons = [reason for reason, applies in known.items() if applies(case)]
        explained.update(reasons)
        if not reasons:
            found.append(f"{case.name}: should be {'believed' if case.is_good else 'refused'}")
    return found + [f"nobody disagrees because {reason}" for reason in known if not explained[reason]]


def test_there_are_at_least_five_hundred_chains_good_and_bad(cases: tuple[Case, ...]) -> None:
    assert len({case.name for case in cases}) == len(cases) >= 500
    assert min(Counter(case.is_good for case in cases).values()) >= 200


def test_we_judge_every_chain_as_the_rfc_does(cases: tuple[Case, ...]) -> None:
    verdicts = [bool(paths.judge(case.leaf, case.pool, case.trusted, case.at, eku="clientAuth")) for case in cases]
    assert _disagreements(cases, verdicts, {}) == []


def test_the_library_agrees_but_for_what_is_listed(cases: tuple[Case, ...]) -> None:
    assert _disagreements(cases, [_library(case) for case in cases], LIBRARY) == []


def _library(case: Case) -> bool:
    verifier = PolicyBuilder().store(Store(list(case.trusted))).time(case.at).build_client_verifier()
    try:
        verifier.verify(case.leaf, list(case.pool))
    except VerificationError:
        return False
    return True


def test_openssl_agrees_but_for_what_is_listed(cases: tuple[Case, ...], tmp_path: Path) -> None:
    openssl = peer("openssl")

    def verdict(numbered: tuple[int, Case]) -> bool:
        folder = tmp_path / str(numbered[0])
        folder.mkdir()
        return _openssl(openssl, folder, numbered[1])

    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(verdict, enumerate(cases)))
    assert _disagreements(cases, verdicts, OPENSSL) == []


@cache
def _options(at: int) -> tuple[str, ...]:
    trusting = ("-no-CApath", "-no-CAstore", "-CAfile", "trusted.pem")
    return ("verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(at), *trusting)


def _openssl(openssl: Peer, folder: Path, case: Case) -> bool:
    (folder / "leaf.pem").write_text(bundle.to_pem(case.leaf))
    (folder / "trusted.pem").write_text(bundle.to_pem(*case.trusted))
    options = [openssl.program, *_options(int(case.at.timestamp()))]
    if case.pool:
        (folder / "pool.pem").write_text(bundle.to_pem(*case.pool))
        options += ["-untrusted", "pool.pem"]
    done = subprocess.run([*options, "leaf.pem"], cwd=folder, capture_output=True, timeout=60, check=False)
    return done.returncode == 0
