"""What an approval is about, and who may give it.

A request pins everything that is known of a certificate before its key is there, as canonical JSON and its SHA-256. The
key is not known then: it is made afterwards, by the agent that the content names as its holder, and proved by the CSR.
What the content leaves out (serial number, the instants between which it is valid, where its status is published) is
chosen by certctl itself and by nobody who asks.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from certctl_core.ids import AgentId, ApiKeyId
from certctl_core.models.access import Principal
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer, Owner
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.pki import names
from certctl_core.policy import profile as profile_policy
from certctl_core.policy.enrolling import names_of


def content(
    certificate: ManagedCertificate,
    issuer: ConfiguredIssuer,
    profile: CertificateProfile | None,
    holders: Sequence[AgentId],
    holder: AgentId | None,
    requested_by: str,
    requested_by_key: ApiKeyId | None,
) -> Mapping[str, Any]:
    """What is approved, as JSON values. `holder` makes the key of this certificate, `holders` are all that make keys
    for the same names. Names are in canonical spelling and sorted, durations in seconds."""
    lifetime = profile_policy.lifetime(profile, profile_policy.default_life(issuer))
    all_names = names_of(certificate)
    return {
        "certificate_id": certificate.id,
        "common_name": certificate.common_name,
        "names": sorted(names.canonical_text(name) for name in all_names),
        "issuer": {"id": issuer.id, "type": issuer.type, "settings_sha256": digest(canonical(issuer.config))},
        "profile": None if profile is None else {"id": profile.id, "limits": _limits(profile)},
        "ekus": list(profile_policy.ekus(profile)),
        "must_staple": profile is not None and profile.must_staple,
        "life_seconds": int(lifetime.total_seconds()),
        "key_holder": holder,
        "key_holders": sorted(holders),
        "requester": {"name": requested_by, "key_id": requested_by_key},
    }


def _limits(profile: CertificateProfile) -> Mapping[str, Any]:
    """What the profile has to say about a certificate: its name and its description may change."""
    return {
        "allowed_key_algorithms": [[rule.algorithm, rule.min_size] for rule in profile.allowed_key_algorithms],
        "allowed_ekus": list(profile.allowed_ekus),
        "max_ttl_seconds": None if profile.max_ttl is None else int(profile.max_ttl.total_seconds()),
        "required_san_patterns": list(profile.required_san_patterns),
        "spiffe_uri_pattern": profile.spiffe_uri_pattern,
        "allow_short_lived": profile.allow_short_lived,
        "must_staple": profile.must_staple,
    }


def canonical(value: Mapping[str, Any]) -> str:
    """The one text of these JSON values: keys sorted, no spaces, characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """SHA-256 of the text in UTF-8, in lower-case hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_requester(caller: Principal, request: ApprovalRequest) -> bool:
    return _is_same(caller, request.requested_by, request.requested_by_key)


def objection(caller: Principal, request: ApprovalRequest, owner: Owner | None) -> str:
    """Why the caller may not approve; empty when nothing is in the way.

    Whoever has the same key, or the same name, is the same person: a key may have been renamed since, and a person may
    have two.
    """
    if is_requester(caller, request):
        return "you asked for it yourself"
    if _is_same(caller, request.ordered_by, request.ordered_by_key):
        return "you decided what the certificate is to say"
    if owner is not None and caller.name.casefold() in (owner.name.casefold(), owner.email.casefold()):
        return "you own the certificate"
    return ""


def _is_same(caller: Principal, name: str, key_id: ApiKeyId | None) -> bool:
    return caller.name.casefold() == name.casefold() or (key_id is not None and caller.key_id == key_id)
