"""Signed challenges of a connector to an MDM service: what they claim, and whether a CSR is the one they are for.

The connector gives each device a challenge that says who it is and which names it may have. It is signed (`pki.jws`);
here its claims are judged. What a CSR asks for must be what the challenge says, of every kind of name: none missing,
none more.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat import asn1 as typed

from certctl_core.errors import Unreadable
from certctl_core.pki import names
from certctl_core.pki.csr import CsrFacts
from certctl_core.pki.untrusted import parsing

MAX_TEXT: Final = 255
MAX_NAMES: Final = 100
_UPN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_VERSIONS: Final = (None, "", 1, "1", "v1")


class Verdict(Enum):
    """What was found of a challenge: the words of the counters."""

    GOOD = "success"
    MALFORMED = "malformed"
    NOT_SIGNED = "signature_invalid"
    WRONG_AUDIENCE = "wrong_audience"
    NOT_YET = "not_yet_valid"
    EXPIRED = "expired"
    REPLAYED = "replay"
    RATE_LIMITED = "rate_limited"
    MISMATCH = "claim_mismatch"


@frozen(kw_only=True)
class Rules:
    """What challenges must be like. `validity` is how old one may be, whatever it says; `skew` how wrong clocks may be;
    `per_day` how many a device may use in 24 hours, 0 for any number."""

    audience: str
    validity: timedelta = timedelta(hours=1)
    skew: timedelta = timedelta(minutes=1)
    per_day: int = 3


@frozen(kw_only=True)
class Challenge:
    """The claims of a token. `nonce` tells it from all others. Names are as the token has them."""

    nonce: str
    subject: str
    audiences: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    device_name: str
    dns_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    upns: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """Whose quota it is."""
        return self.subject or self.device_name


def read(claims: Mapping[str, Any]) -> Challenge:
    """The claims of a token whose signature has been verified. Raises `Unreadable`."""
    if claims.get("version") not in _VERSIONS or isinstance(claims.get("version"), bool):
        raise Unreadable("the challenge is of another version")
    challenge = Challenge(
        nonce=_text(claims, "nonce") or _text(claims, "jti"),
        subject=_text(claims, "sub"),
        audiences=_texts(claims, "aud"),
        issued_at=_time(claims, "iat"),
        expires_at=_time(claims, "exp"),
        device_name=_text(claims, "device_name"),
        dns_names=_texts(claims, "san_dns"),
        emails=_texts(claims, "san_rfc822"),
        upns=_texts(claims, "san_upn"),
    )
    if not challenge.nonce or not challenge.device:
        raise Unreadable("the challenge lacks its nonce, or whose it is")
    if challenge.expires_at <= challenge.issued_at:
        raise Unreadable("the challenge ends before it begins")
    return challenge


def judge(challenge: Challenge, rules: Rules, now: datetime) -> Verdict:
    """Whether a challenge is for us and of now."""
    if rules.audience not in challenge.audiences:
        return Verdict.WRONG_AUDIENCE
    if now < challenge.issued_at - rules.skew:
        return Verdict.NOT_YET
    if now > min(challenge.expires_at, challenge.issued_at + rules.validity) + rules.skew:
        return Verdict.EXPIRED
    return Verdict.GOOD


def mismatches(challenge: Challenge, asked: CsrFacts) -> tuple[str, ...]:
    """How the names of a CSR differ from those of the challenge."""
    found = []
    if asked.common_name.casefold() != challenge.device_name.casefold():
        found.append(f"the common name is {asked.common_name!r} and the challenge is for {challenge.device_name!r}")
    for kind, claimed in (
        (x509.DNSName, challenge.dns_names),
        (x509.RFC822Name, challenge.emails),
        (x509.OtherName, challenge.upns),
    ):
        wanted = {one.casefold() for one in claimed}
        given = {_text_of(name).casefold() for name in asked.sans if isinstance(name, kind)}
        if wanted != given:
            found.append(f"{kind.__name__}: asked for are {_shown(given)}, and the challenge has {_shown(wanted)}")
    others = [one for one in asked.sans if not isinstance(one, x509.DNSName | x509.RFC822Name | x509.OtherName)]
    if others:
        found.append(f"{_shown(map(names.text_of, others))} is of a kind that no challenge has")
    return tuple(found)


def _text_of(name: x509.GeneralName) -> str:
    """The text of a name; a UPN is a UTF8String within an otherName (section 2.2.4 of MS-WCCE has its OID)."""
    if isinstance(name, x509.OtherName) and name.type_id == _UPN:
        with parsing("the UPN"):
            return typed.decode_der(str, name.value)
    return names.text_of(name)


def _shown(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts)) or "none"


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable()):
        raise Unreadable(f"the challenge has a claim {name} that is no text")
    return value


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name) or ()
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, list | tuple) or len(value) > MAX_NAMES:
        raise Unreadable(f"the challenge has a claim {name} that is no list of texts")
    return tuple(_text({name: one}, name) for one in value)


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    """NumericDate (RFC 7519 section 2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**33:
        raise Unreadable(f"the challenge has a claim {name} that is no time")
    return datetime.fromtimestamp(value, UTC)
