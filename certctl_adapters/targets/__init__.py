"""Deployment targets: which types there are, how their settings are checked, and how one is connected.

The types certctl brings are in `BUILT_IN`. Others come as packages with an entry point in the group `certctl.targets`,
whose name is the type and whose object is a class like those here: `settings_class`, `__init__(settings, host)`, and
the port `Target`.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Final, Protocol, cast

from certctl_adapters import settings
from certctl_adapters.host import Host
from certctl_adapters.targets.nginx import NginxTarget
from certctl_core.errors import FieldProblem, Invalid
from certctl_core.ports.target import Target, TargetCatalog

GROUP: Final = "certctl.targets"


class TargetConnector(Target, Protocol):
    """A target that is made from settings and the machine it lives on."""

    settings_class: ClassVar[type[Any]]

    def __init__(self, settings: Any, host: Host) -> None: ...


BUILT_IN: Final[Mapping[str, type[TargetConnector]]] = {"NGINX": NginxTarget}


def connector(type_name: str) -> tuple[str, type[TargetConnector]]:
    """The canonical name of a type and its connector, for any spelling that differs in case only.

    Raises `Invalid` on the field `type` when there is none.
    """
    for name, kind in BUILT_IN.items():
        if name.lower() == type_name.lower():
            return name, kind
    for found in entry_points(group=GROUP):
        if found.name.lower() == type_name.lower():
            return found.name, cast(type[TargetConnector], found.load())
    words = f"unsupported target type: {type_name}"
    raise Invalid(words, fields=[FieldProblem("type", words)], hint=f"There are: {', '.join(known_types())}.")


def known_types() -> Iterable[str]:
    """The canonical names of all types."""
    return sorted({*BUILT_IN, *(found.name for found in entry_points(group=GROUP))})


def connect(type_name: str, config: Mapping[str, Any], host: Host) -> Target:
    """The target that the control plane describes. Settings that this version does not know are ignored.

    Raises `Invalid`.
    """
    _, kind = connector(type_name)
    return kind(settings.read(kind.settings_class, config, ignore_unknown=True), host)


class Catalog(TargetCatalog):
    """Checks what operators enter, in the control plane."""

    def check(self, type_name: str, config: dict[str, object]) -> tuple[str, dict[str, object]]:
        name, kind = connector(type_name)
        return name, settings.write(settings.read(kind.settings_class, config))

    def secret_keys(self, type_name: str) -> frozenset[str]:
        return settings.secret_fields(connector(type_name)[1].settings_class)
