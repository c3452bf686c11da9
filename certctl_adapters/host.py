"""The machine a target lives on, as far as connectors may touch it."""

from pathlib import Path

from attrs import field, frozen

from certctl_adapters.commands import Commands
from certctl_adapters.files import FileInstaller


@frozen
class Host:
    """`files` installs sets of files all or none, `commands` runs programs."""

    files: FileInstaller
    commands: Commands = field(factory=Commands)

    @classmethod
    def with_journals(cls, journals: Path) -> "Host":
        """A host whose interrupted installations are recorded in the folder `journals`."""
        return cls(FileInstaller(journals))
