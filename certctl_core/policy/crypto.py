"""Which keys a profile permits."""

from collections.abc import Iterable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl_core.errors import FieldProblem
from certctl_core.models.catalog import KeyAlgorithmRule
from certctl_core.pki import keys

ALGORITHMS: Final = ("RSA", "ECDSA", "Ed25519", "ML-DSA-44", "ML-DSA-65")
_LEAST: Final = {"RSA": 2048, "ECDSA": 256}


def judge_key(rules: Sequence[KeyAlgorithmRule], public_key: CertificatePublicKeyTypes) -> tuple[str, ...]:
    """Why this key is not permitted; empty when one of `rules` permits it and it has no weakness. No rules: any sound
    key."""
    weak = keys.weaknesses(public_key)
    if weak or not rules:
        return weak
    facts = keys.describe(public_key)
    matching = [rule for rule in rules if rule.algorithm == facts.algorithm]
    if not matching:
        permitted = ", ".join(dict.fromkeys(rule.algorithm for rule in rules))
        return (f"{facts.algorithm} keys are not permitted, only {permitted}",)
    least = min(rule.min_size for rule in matching)
    if facts.size < least:
        return (f"{facts.algorithm} keys must have {least} bits or more, this one has {facts.size}",)
    return ()


def rule_problems(rules: Iterable[KeyAlgorithmRule]) -> Iterable[FieldProblem]:
    """What is wrong with a profile's key rules."""
    for index, rule in enumerate(rules):
        at = f"allowed_key_algorithms[{index}]"
        least = _LEAST.get(rule.algorithm, 0)
        if rule.algorithm not in ALGORITHMS:
            yield FieldProblem(f"{at}.algorithm", f"must be one of {', '.join(ALGORITHMS)}")
        elif rule.min_size < least:
            yield FieldProblem(f"{at}.min_size", f"must be {least} or more for {rule.algorithm}")
