"""What a profile permits, judged on the certificate about to be signed and again on the one that came back.

How long a certificate lives: `notBefore` lies `BACKDATE` in the past, because relying parties' clocks are wrong by
minutes. A lifetime counts from `notBefore` and includes both its first and its last second (RFC 5280 section 4.1.2.5),
so a certificate of 90 days ends one second before the 90 days are over and is never a second too long for a cap. For a
short-lived profile the lifetime counts from now: of a certificate of ten minutes, backdating would take away half.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from certctl_core.errors import FieldProblem, Invalid, Refused
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer
from certctl_core.pki import names, usages
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy.crypto import judge_key, rule_problems
from certctl_core.policy.patterns import pattern

BACKDATE: Final = timedelta(minutes=5)
SHORT_LIVED: Final = timedelta(hours=1)
_SECOND: Final = timedelta(seconds=1)


def default_life(issuer: ConfiguredIssuer) -> timedelta:
    """How long the issuer's certificates live when no profile shortens it."""
    return timedelta(days=int(issuer.config.get("validity_days") or 90))


def lifetime(profile: CertificateProfile | None, default: timedelta) -> timedelta:
    """The profile's maximum is a cap: it shortens `default`, which is the issuer's, and never makes it longer."""
    return default if profile is None or profile.max_ttl is None else min(default, profile.max_ttl)


def ekus(profile: CertificateProfile | None) -> tuple[str, ...]:
    """The extended key usages of a certificate."""
    return profile.allowed_ekus if profile else ("serverAuth", "clientAuth")


def validity(profile: CertificateProfile | None, default: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """`(notBefore, notAfter)` of a certificate made `now`, in whole seconds; `default` as in `lifetime`."""
    life = lifetime(profile, default)
    instant = now.astimezone(UTC).replace(microsecond=0)
    not_before = instant - BACKDATE
    begins = instant if _counts_from_now(profile) else not_before
    # A life shorter than what is backdated would be over before it began.
    return not_before, max(begins + life - _SECOND, instant + _SECOND)


def _counts_from_now(profile: CertificateProfile | None) -> bool:
    return profile is not None and profile.allow_short_lived


def is_short_lived(profile: CertificateProfile | None) -> bool:
    """Whether its certificates are over before anybody would hear that they were revoked."""
    return profile is not None and profile.max_ttl is not None and profile.max_ttl < SHORT_LIVED


def enforce(profile: CertificateProfile | None, plan: LeafPlan) -> None:
    """Raises `Refused` with every reason why this certificate must not be."""
    reasons = judge(profile, plan)
    if reasons:
        name = f"profile {profile.id}" if profile else "policy"
        raise Refused(
            f"{name} does not permit this certificate: {'; '.join(reasons)}",
            reasons=reasons,
            hint="Change the request, or have the profile changed.",
        )


def judge(profile: CertificateProfile | None, plan: LeafPlan) -> tuple[str, ...]:
    """Every reason why the profile does not permit this certificate. Without a profile only what is true for all."""
    reasons = [*judge_key(profile.allowed_key_algorithms if profile else (), plan.public_key), *_usage_reasons(plan)]
    if profile is not None:
        if not profile.enabled:
            reasons.append("the profile is disabled")
        reasons += _life_reasons(profile, plan)
        reasons += _name_reasons(profile, plan)
        reasons += [f"the usage {eku} is not permitted" for eku in plan.ekus if eku not in profile.allowed_ekus]
        if profile.must_staple and not plan.must_staple:
            reasons.append("must-staple (RFC 7633) is required")
    return tuple(reasons)


def _usage_reasons(plan: LeafPlan) -> Iterable[str]:
    kinds = {type(name) for name in plan.sans}
    if not plan.ekus:
        yield "an extended key usage is required"
    if "serverAuth" in plan.ekus and not plan.sans:
        yield "serverAuth needs a SAN (RFC 9525 section 2)"
    elif "serverAuth" in plan.ekus and plan.common_name and not names.is_name(plan.common_name):
        yield f"serverAuth needs a common name that is a name, which {plan.common_name!r} is not"
    if "emailProtection" in plan.ekus and x509.RFC822Name not in kinds:
        yield "emailProtection needs an e-mail address among the SANs (RFC 8550 section 3)"
    if "timeStamping" in plan.ekus and len(plan.ekus) > 1:
        yield "timeStamping must be the only usage (RFC 3161 section 2.3)"


def _life_reasons(profile: CertificateProfile, plan: LeafPlan) -> Iterable[str]:
    if profile.max_ttl is None:
        return
    longest = profile.max_ttl + (BACKDATE if _counts_from_now(profile) else timedelta(0))
    life = plan.not_after - plan.not_before + _SECOND
    if life > longest:
        yield f"a life of {life} is over the maximum of {profile.max_ttl}"


def _name_reasons(profile: CertificateProfile, plan: LeafPlan) -> Iterable[str]:
    """Every name has to match one of the patterns; a list of patterns of which one had to be matched by some name would
    let any other name through beside it. SPIFFE IDs answer to their own pattern when there is one."""
    wanted = [pattern(text) for text in profile.required_san_patterns]
    spiffe = pattern(profile.spiffe_uri_pattern) if profile.spiffe_uri_pattern else None
    found_spiffe = False
    for name in plan.sans:
        text = names.canonical_text(name)
        if spiffe is not None and text.startswith("spiffe://"):
            found_spiffe = True
            if not spiffe.matches(text):
                yield f"the SPIFFE ID {text} does not match the pattern {spiffe.text}"
        elif wanted and not any(one.matches(text) for one in wanted):
            yield f"the name {text} matches none of the patterns {', '.join(one.text for one in wanted)}"
    if spiffe is not None and not found_spiffe:
        yield f"a SPIFFE ID matching {spiffe.text} is required"
    if wanted and not plan.sans:
        yield "a SAN is required"


# Profiles themselves


def problems(profile: CertificateProfile) -> list[FieldProblem]:
    """What is wrong with a profile, for whoever makes one."""
    found = list(rule_problems(profile.allowed_key_algorithms))
    if profile.max_ttl is not None and profile.max_ttl <= timedelta(0):
        found.append(FieldProblem("max_ttl_seconds", "must be positive, or 0 for no maximum"))
    if profile.allow_short_lived and (profile.max_ttl is None or profile.max_ttl >= SHORT_LIVED):
        found.append(FieldProblem("max_ttl_seconds", "must be under 3600 when allow_short_lived is set"))
    if not profile.allow_short_lived and profile.max_ttl is not None and timedelta(0) < profile.max_ttl <= BACKDATE:
        found.append(FieldProblem("max_ttl_seconds", "must be over 300 unless allow_short_lived is set"))
    found += _eku_problems(profile.allowed_ekus)
    for index, text in enumerate(profile.required_san_patterns):
        found += _pattern_problems(f"required_san_patterns[{index}]", text)
    if profile.spiffe_uri_pattern:
        found += _pattern_problems("spiffe_uri_pattern", profile.spiffe_uri_pattern)
    return found


def _eku_problems(ekus: tuple[str, ...]) -> Iterable[FieldProblem]:
    if not ekus:
        yield FieldProblem("allowed_ekus", "must not be empty")
    for index, name in enumerate(ekus):
        if name not in usages.EKUS:
            yield FieldProblem(f"allowed_ekus[{index}]", f"must be one of {', '.join(usages.EKUS)}")
    if len(set(ekus)) != len(ekus):
        yield FieldProblem("allowed_ekus", "names a usage twice")
    if "timeStamping" in ekus and len(ekus) > 1:
        yield FieldProblem("allowed_ekus", "timeStamping must be the only usage (RFC 3161 section 2.3)")


def _pattern_problems(field: str, text: str) -> Iterable[FieldProblem]:
    try:
        pattern(text)
    except Invalid as problem:
        yield FieldProblem(field, str(problem))
