"""Whether a plan is one that a certificate can be made of and that its issuer may sign.

These are the rules that hold for every certificate (RFC 5280); what a profile adds is in `certctl_core.policy.profile`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509

from certctl_core.errors import FieldProblem, Invalid, Refused
from certctl_core.pki import keys, names, serials, usages
from certctl_core.pki.plan import LeafPlan


def check_plan(plan: LeafPlan, issuer: x509.Certificate) -> None:
    """Raises `Invalid` listing what no certificate can say, then `Refused` for what this issuer must not sign."""
    problems = tuple(_plan_problems(plan))
    if problems:
        words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"not a certificate that can be signed: {words}", fields=problems)
    keys.require_sound(plan.public_key)
    if plan.not_after > issuer.not_valid_after_utc:
        reason = f"it would end after its issuer, which ends {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise Refused(f"the certificate is not signed: {reason}", reasons=[reason])
    if keys.spki(plan.public_key) == _spki_of(issuer):
        reason = "its key is the CA's own"
        raise Refused(f"the certificate is not signed: {reason}", reasons=[reason])


@lru_cache(maxsize=64)
def _spki_of(issuer: x509.Certificate) -> bytes:
    return keys.spki(issuer)


def _plan_problems(plan: LeafPlan) -> Iterable[FieldProblem]:
    yield from _serial_problems(plan.serial_number)
    yield from _validity_problems(plan.not_before, plan.not_after)
    yield from _name_problems(plan)
    for name in plan.ekus:
        if name not in usages.EKUS:
            yield FieldProblem("ekus", f"{name!r} is none of {', '.join(usages.EKUS)}")
    if len(set(plan.ekus)) != len(plan.ekus):
        yield FieldProblem("ekus", "names a usage twice")
    if "timeStamping" in plan.ekus and len(plan.ekus) > 1:
        yield FieldProblem("ekus", "timeStamping must be the only usage (RFC 3161 section 2.3)")
    for label in ("crl_urls", "ocsp_urls", "ca_issuers_urls"):
        for url in getattr(plan, label):
            if not _is_http_url(url):
                yield FieldProblem(label, f"{url!r} is not an http or https URL")


def _serial_problems(serial_number: str) -> Iterable[FieldProblem]:
    try:
        if serials.canonical(serial_number) != serial_number:
            yield FieldProblem("serial_number", "is not in canonical form")
        if serials.to_int(serial_number) > serials.MAX_OURS:
            yield FieldProblem("serial_number", "has more than 20 octets (RFC 5280 section 4.1.2.2)")
    except Invalid as problem:
        yield from problem.fields


def _validity_problems(not_before: datetime, not_after: datetime) -> Iterable[FieldProblem]:
    for label, at in (("not_before", not_before), ("not_after", not_after)):
        if at.utcoffset() != timedelta(0):
            yield FieldProblem(label, "is not aware UTC")
            return
        if at.microsecond:
            yield FieldProblem(label, "has a fraction of a second (RFC 5280 section 4.1.2.5)")
        if at.year < 1950:
            yield FieldProblem(label, "is before 1950")
    if not_after <= not_before:
        yield FieldProblem("not_after", "is not after not_before")


def _name_problems(plan: LeafPlan) -> Iterable[FieldProblem]:
    found = [names.canonical(name) for name in plan.sans]
    if len(set(found)) != len(found):
        yield FieldProblem("sans", "holds a name twice")
    if not plan.sans and not names.subject(plan.common_name).rdns:
        yield FieldProblem("sans", "a certificate needs a name")
    if not plan.sans and "serverAuth" in plan.ekus:
        yield FieldProblem("sans", "a server's certificate needs a name in the SAN (RFC 9525 section 2)")
    for index, name in enumerate(plan.sans):
        try:
            if names.canonical(names.general_name(names.text_of(name))) != names.canonical(name):
                yield FieldProblem(f"sans[{index}]", f"{names.text_of(name)!r} is a name of another kind")
        except Invalid as problem:
            yield FieldProblem(f"sans[{index}]", problem.message)
    if plan.common_name:
        try:
            first = names.canonical(names.common_name(plan.common_name))
        except Invalid as problem:
            yield from problem.fields
            return
        if plan.sans and first not in found:
            yield FieldProblem("common_name", "is not among the SANs")


def _is_http_url(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    try:
        return isinstance(names.general_name(url), x509.UniformResourceIdentifier)
    except Invalid:
        return False
