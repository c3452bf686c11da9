"""Whether a plan is one that a certificate can be made of and that its issuer may sign.

These are the rules that hold for every certificate (RFC 5280); what a profile adds is in `certctl_core.policy.profile`.
"""

import re
from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from cryptography import x509

from certctl_core.errors import FieldProblem, Invalid, Refused
from certctl_core.pki import keys, names, paths, serials, usages
from certctl_core.pki.plan import CaPlan, LeafPlan

_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")


def check_plan(plan: LeafPlan, chain: Sequence[x509.Certificate]) -> None:
    """Raises `Invalid` listing what no certificate can say, then `Refused` for what the CA with this chain (its own
    certificate first) must not sign."""
    _require_valid(_plan_problems(plan))
    keys.require_sound(plan.public_key)
    reasons = [*_issuer_reasons(plan, chain), *paths.refused_names(chain, names.subject(plan.common_name), plan.sans)]
    if reasons:
        raise Refused(f"the certificate is not signed: {'; '.join(reasons)}", reasons=reasons)


def check_ca_plan(plan: CaPlan, chain: Sequence[x509.Certificate] = ()) -> None:
    """As `check_plan`, for the certificate of a CA: below the CA with this chain, or a root's own without one."""
    _require_valid(_ca_plan_problems(plan))
    keys.require_sound(plan.public_key)
    reasons = _ca_reasons(plan, chain) if chain else []
    if reasons:
        raise Refused(f"no such CA is signed: {'; '.join(reasons)}", reasons=reasons)


def _ca_reasons(plan: CaPlan, chain: Sequence[x509.Certificate]) -> list[str]:
    reasons = [*_issuer_reasons(plan, chain), *paths.refused_names(chain, plan.subject, ())]
    room = paths.room_below(chain)
    if room is not None and (room <= 0 or plan.path_length is None or plan.path_length >= room):
        reasons.append(f"the CA above it may have {max(room, 0)} CAs below it in a path")
    if plan.subject == chain[0].subject and not plan.is_link:
        reasons.append("its name is that of the CA above it")
    return reasons


def _issuer_reasons(plan: LeafPlan | CaPlan, chain: Sequence[x509.Certificate]) -> Iterable[str]:
    end = chain[0].not_valid_after_utc
    if plan.not_after > end:
        yield f"it would end after its issuer, which ends {end:%Y-%m-%d %H:%M} UTC"
    if keys.spki(plan.public_key) == _spki_of(chain[0]):
        yield "its key is the CA's own"


def _require_valid(found: Iterable[FieldProblem]) -> None:
    problems = tuple(found)
    if problems:
        words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"not a certificate that can be signed: {words}", fields=problems)


def _ca_plan_problems(plan: CaPlan) -> Iterable[FieldProblem]:
    yield from _serial_problems(plan.serial_number)
    yield from _validity_problems(plan.not_before, plan.not_after)
    yield from _url_problems(plan)
    if not plan.subject.rdns:
        yield FieldProblem("subject", "must not be empty (RFC 5280 section 4.1.2.6)")
    if plan.path_length is not None and not 0 <= plan.path_length <= paths.MAX_PATH:
        yield FieldProblem("path_length", f"must be 0 to {paths.MAX_PATH}")
    if len({policy.oid for policy in plan.policies}) != len(plan.policies):
        yield FieldProblem("policies", "names a policy twice (RFC 5280 section 4.2.1.4)")
    for index, policy in enumerate(plan.policies):
        if not _is_oid(policy.oid):
            yield FieldProblem(f"policies[{index}].oid", f"{policy.oid!r} is no object identifier")
        if policy.cps and not is_http_url(policy.cps):
            yield FieldProblem(f"policies[{index}].cps", f"{policy.cps!r} is not an http or https URL")


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
    if plan.is_short_lived and (plan.crl_urls or plan.ocsp_urls or plan.must_staple):
        yield FieldProblem("is_short_lived", "says that there is no word of revocation (RFC 9608 section 2)")
    yield from _url_problems(plan)


def _url_problems(plan: LeafPlan | CaPlan) -> Iterable[FieldProblem]:
    for label in ("crl_urls", "ocsp_urls", "ca_issuers_urls"):
        for url in getattr(plan, label):
            if not is_http_url(url):
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
        yield from _common_name_problems(plan, found)


def _common_name_problems(plan: LeafPlan, sans: Container[str]) -> Iterable[FieldProblem]:
    """What a device is called need not be a name, unless it is a server."""
    try:
        if "serverAuth" not in plan.ekus and not names.is_name(plan.common_name):
            names.must_call_a_device(plan.common_name)
            return
        first = names.canonical(names.common_name(plan.common_name))
    except Invalid as problem:
        yield from problem.fields
        return
    if plan.sans and first not in sans:
        yield FieldProblem("common_name", "is not among the SANs")


def _is_oid(text: str) -> bool:
    if _OID.fullmatch(text) is None:
        return False
    try:
        x509.ObjectIdentifier(text)
    except ValueError:
        return False
    return True


def is_http_url(url: str) -> bool:
    """Whether it can stand in a certificate as the address of something that is fetched over HTTP."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        return isinstance(names.general_name(url), x509.UniformResourceIdentifier)
    except Invalid:
        return False
