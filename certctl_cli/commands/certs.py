"""`certctl certs`: certificates under management."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import Any, Final

from certctl_cli import operations
from certctl_cli.client import Server, one
from certctl_cli.command import Command, Record, Result, Text, argument
from certctl_cli.wording import ID, NOTHING, PAGING, day, flag, listed, moment, of, text

REASONS: Final = (
    "unspecified",
    "keyCompromise",
    "caCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
)
_DIGITS: Final = 16
"""Of a fingerprint, in a table: enough to tell two apart."""


def page(server: Server, given: Namespace) -> Result:
    told = server.pages(given, "/certificates", **operations.narrowed("list_certificates", given))
    columns = {
        "ID": of("id"),
        "COMMON NAME": of("common_name"),
        "STATUS": of("status"),
        "EXPIRES": lambda row: day(row.get("expires_at")),
        "ISSUER": of("issuer_id"),
    }
    return listed(told, given, columns)


def get(server: Server, given: Namespace) -> Result:
    told = server.get(one("certificates", given.id))
    return Result(data=told, views=(Record(_described(told)),))


def _described(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What every certificate has, and of the rest what this one has."""
    rows = [
        ("ID", text(told.get("id"))),
        ("Name", text(told.get("name"))),
        ("Common Name", text(told.get("common_name"))),
        ("Status", text(told.get("status"))),
        ("Issuer ID", text(told.get("issuer_id"))),
        ("Owner ID", text(told.get("owner_id"))),
        ("Expires At", moment(told.get("expires_at"))),
        ("SANs", text(told.get("sans"))),
    ]
    further = [
        ("Status Reason", text(told.get("status_reason"))),
        ("Renews At", moment(told.get("renew_at"))),
        ("Revoked At", moment(told.get("revoked_at"))),
        ("Revocation Reason", text(told.get("revocation_reason"))),
        ("Team ID", text(told.get("team_id"))),
        ("Policy ID", text(told.get("renewal_policy_id"))),
        ("Profile ID", text(told.get("certificate_profile_id"))),
        ("Environment", text(told.get("environment"))),
        ("Target IDs", text(told.get("target_ids"))),
        ("Tags", text(told.get("tags"))),
    ]
    return rows + [row for row in further if row[1] != NOTHING]


def create(server: Server, given: Namespace) -> Result:
    asked = {
        "id": given.id,
        "name": given.name or given.common_name,
        "common_name": given.common_name,
        "sans": given.san,
        "environment": given.environment,
        "owner_id": given.owner_id,
        "team_id": given.team_id,
        "issuer_id": given.issuer_id,
        "renewal_policy_id": given.renewal_policy_id,
        "certificate_profile_id": given.profile_id,
        "target_ids": given.target_id,
        "tags": dict(given.tag),
    }
    told = server.post("/certificates", {name: value for name, value in asked.items() if value})
    return Result(data=told, views=(Record(_described(told)),))


def archive(server: Server, given: Namespace) -> Result:
    server.delete(one("certificates", given.id))
    return _done({"status": "deleted"}, f"Certificate {given.id} archived; what was issued stays on record.")


def renew(server: Server, given: Namespace) -> Result:
    told = server.post(one("certificates", given.id, "renew"), {"force": given.force, "reason": given.reason or ""})
    jobs = [("Job ID", text(job)) for job in told.get("job_ids") or [told.get("job_id")] if job]
    return Result(data=told, views=(Text(f"Renewal of {given.id} started."), *([Record(jobs)] if jobs else [])))


def revoke(server: Server, given: Namespace) -> Result:
    asked = {"reason": given.reason, "invalid_since": given.invalid_since}
    told = server.post(one("certificates", given.id, "revoke"), {name: said for name, said in asked.items() if said})
    return _done(told, f"Certificate {given.id} revoked: {given.reason}.")


def release(server: Server, given: Namespace) -> Result:
    told = server.post(one("certificates", given.id, "release"), {})
    return _done(told, f"Certificate {given.id} released from hold.")


def _done(told: Any, words: str) -> Result:
    return Result(data=told, views=(Text(words),))


def versions(server: Server, given: Namespace) -> Result:
    told = server.pages(given, one("certificates", given.id, "versions"))
    columns = {
        "SERIAL": of("serial_number"),
        "NOT BEFORE": lambda row: moment(row.get("not_before")),
        "NOT AFTER": lambda row: moment(row.get("not_after")),
        "KEY": lambda row: " ".join(str(row[name]) for name in ("key_algorithm", "key_size") if row.get(name)),
        "AGENT": of("agent_id"),
        "SHA-256": lambda row: _short(row.get("fingerprint_sha256")),
    }
    return listed(told, given, columns)


def deployments(server: Server, given: Namespace) -> Result:
    columns = {
        "TARGET": of("id"),
        "TYPE": of("type"),
        "AGENT": of("agent_id"),
        "STATE": _state,
        "SERVED": lambda row: _short(_deployment(row).get("served_fingerprint")),
        "SERVED AT": lambda row: moment(_deployment(row).get("served_at")),
        "ERROR": lambda row: text(_deployment(row).get("last_error")),
    }
    return listed(server.get(one("certificates", given.id, "deployments")), given, columns)


def _deployment(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("deployment") or {}


def _state(row: Mapping[str, Any]) -> str:
    """Deployed means seen in a handshake, not written to a file."""
    installed = _deployment(row).get("installed_fingerprint")
    served = _deployment(row).get("served_fingerprint")
    if not installed:
        return "never deployed"
    if not served:
        return "not seen"
    return "served" if installed == served else "another served"


def _short(fingerprint: str | None) -> str:
    return (fingerprint or NOTHING)[:_DIGITS]


def _tag(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{given!r} is not NAME=VALUE")
    return name, value


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="certs list",
        help="list certificates",
        run=page,
        arguments=(*operations.filters("list_certificates"), *PAGING),
        covers=("list_certificates",),
    ),
    Command(name="certs get", covers=("get_certificate",), help="show one certificate", run=get, arguments=(ID,)),
    Command(
        name="certs create",
        covers=("create_certificate",),
        help="put a certificate under management",
        run=create,
        arguments=(
            flag("common-name", "the name in its subject", required=True),
            flag("owner-id", "who it belongs to", required=True),
            flag("team-id", "whose team looks after it", required=True),
            flag("issuer-id", "who signs it; default: iss-local", default="iss-local"),
            flag("renewal-policy-id", "when it is renewed; default: rp-default", default="rp-default"),
            flag("profile-id", "what it may contain"),
            flag("name", "what it is called in lists; default: its common name"),
            argument("--san", action="append", metavar="NAME", help="a further name or address; may be repeated"),
            argument("--target-id", action="append", metavar="ID", help="a target it goes to; may be repeated"),
            flag("environment", "such as production"),
            argument("--tag", action="append", type=_tag, default=[], metavar="NAME=VALUE", help="may be repeated"),
            flag("id", "an id of your own choosing"),
        ),
    ),
    Command(
        name="certs renew",
        covers=("trigger_renewal",),
        help="issue or renew a certificate now",
        run=renew,
        arguments=(
            ID,
            argument("--force", action="store_true", help="start over a renewal that is under way"),
            flag("reason", "why; kept in the audit trail"),
        ),
    ),
    Command(
        name="certs revoke",
        covers=("revoke_certificate",),
        help="revoke every version of a certificate, for good unless the reason is certificateHold",
        run=revoke,
        arguments=(
            ID,
            argument("--reason", required=True, choices=REASONS, metavar="REASON", help=f"why: {', '.join(REASONS)}"),
            flag("invalid-since", "from when on its key was not good any more, such as 2026-11-01T12:00:00Z"),
        ),
    ),
    Command(
        name="certs release",
        covers=("release_certificate",),
        help="take a certificate off hold that was revoked as certificateHold",
        run=release,
        arguments=(ID,),
    ),
    Command(
        name="certs archive",
        covers=("archive_certificate",),
        help="take a certificate out of management",
        run=archive,
        arguments=(ID,),
    ),
    Command(
        name="certs versions",
        covers=("list_certificate_versions",),
        help="list what was issued for a certificate, newest first",
        run=versions,
        arguments=(ID, *PAGING),
    ),
    Command(
        name="certs deployments",
        covers=("list_certificate_deployments",),
        help="list a certificate's targets and what they serve",
        run=deployments,
        arguments=(ID,),
    ),
)
