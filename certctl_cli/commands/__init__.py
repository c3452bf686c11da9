"""Every command, one file a subject."""

from typing import Final

from certctl_cli.command import Command
from certctl_cli.commands import agents, audit, catalog, certs, jobs, server

COMMANDS: Final[tuple[Command, ...]] = (
    *certs.COMMANDS,
    *agents.COMMANDS,
    *jobs.COMMANDS,
    *catalog.COMMANDS,
    *audit.COMMANDS,
    *server.COMMANDS,
)

GROUPS: Final = {
    "certs": "certificates: look, create, renew, revoke, archive",
    "agents": "agents: look, let one join, retire",
    "jobs": "jobs: look, cancel, try again",
    "issuers": "certification authorities",
    "targets": "places where certificates go",
    "audit": "what happened, and who did it",
}
"""The first words of commands that have two."""
