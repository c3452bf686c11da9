"""Every command: those written by hand, one file a subject, and one for each operation that none of them covers."""

from functools import cache
from typing import Final

from certctl_cli import operations
from certctl_cli.command import Command
from certctl_cli.commands import agents, audit, bulk, catalog, certs, est, imports, jobs, server, session

BY_HAND: Final[tuple[Command, ...]] = (
    *server.COMMANDS,
    *session.COMMANDS,
    *certs.COMMANDS,
    *bulk.COMMANDS,
    *imports.COMMANDS,
    *agents.COMMANDS,
    *jobs.COMMANDS,
    *catalog.COMMANDS,
    *audit.COMMANDS,
    *est.COMMANDS,
)

GROUPS: Final = {
    "certs": "certificates: look, create, renew, revoke, archive",
    "agents": "agents: look, let one join, retire",
    "jobs": "jobs: look, cancel, try again",
    "issuers": "certification authorities",
    "intermediates": "CAs of issuers: certify, activate, retire",
    "targets": "places where certificates go",
    "audit": "what happened, and who did it",
    "est": "certificates for devices, asked for as a device does (RFC 7030)",
    "teams": "teams, which certificates belong to",
    "owners": "who is told when something happens to a certificate",
    "profiles": "what a certificate may be",
    "renewal-policies": "when and how often renewal is tried",
    "policies": "rules that certificates have to keep, and who breaks them",
    "agent-groups": "sets of agents, by what they are or by hand",
    "approvals": "requests that somebody else has to approve",
    "notifications": "messages that are owed, sent, or dead",
    "bulk-operations": "work on many certificates at once, and how far it is",
    "discovered-certificates": "certificates that agents found on their hosts",
    "discovery-scans": "what agents reported of their searches",
    "discovery-summary": "how many found certificates are in each status",
    "network-scan-targets": "networks to look for certificates in",
    "health-checks": "TLS endpoints that are watched",
    "digest": "the regular summary by mail",
    "api-keys": "keys of people and programs",
    "auth": "how callers authenticate",
    "stats": "figures",
    "metrics": "figures for monitoring",
}
"""The first words of commands that have two, and what they are about."""


@cache
def every_command() -> tuple[Command, ...]:
    """All of them, by hand first."""
    covered = {name for command in BY_HAND for name in command.covers}
    return (*BY_HAND, *operations.commands(covered))
