"""Fractions that look random and are not: made from ids, so that a fleet spreads out and a test sees the same again."""

import hashlib


def fraction(*parts: str) -> float:
    """A number in [0, 1), evenly spread over different parts and the same for the same ones."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
