"""One setting: its name, what is said of it, and what its value may look like."""

import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from certctl_core.models.access import Role

PREFIX: Final = "CERTCTL_"


def of_label(protocol: str, name: str, label: str) -> str:
    """The name of a label's setting, from that of what has no label."""
    if not label:
        return name
    return name.replace(f"{protocol}_", f"{protocol}_PROFILE_{label.upper().replace('-', '_')}_", 1)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Row:
    """What there is to say of one setting. `default_text` stands in for a default that depends on the machine."""

    name: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False
    hidden: bool = False
    default_text: str = ""

    @property
    def variable(self) -> str:
        return PREFIX + self.name


@frozen
class NamedKey:
    """An API key given by the operator rather than made by certctl."""

    name: str
    key: str = field(repr=False)
    role: Role


# --- What a value may look like -----------------------------------------------------------------------------------


def text(value: str) -> str:
    return value.strip()


def boolean(value: str) -> bool:
    """`true`, `1`, `yes`, `on` and their opposites, in any case."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("is neither true nor false")


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number between the two, both included."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"is not between {low} and {high}")
        return number

    return parse


def positive(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("is not a number") from None
    if not 0 < number < 1e9:
        raise ValueError("is not greater than 0")
    return number


_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_duration(value: str) -> timedelta:
    """A duration in Go's notation: `30s`, `1h30m`, `250ms`."""
    value = value.strip()
    parts = _PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("is not a duration such as 30s, 5m or 1h30m")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("is too long") from None


def write_duration(value: timedelta) -> str:
    """The shortest way to write what `read_duration` reads: `1h30m`, `0s`."""
    seconds = value.total_seconds()
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    words = [f"{number:g}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (round(rest, 6), "s")) if number]
    return "".join(words) or "0s"


def duration(least: timedelta) -> Callable[[str], timedelta]:
    def parse(value: str) -> timedelta:
        read = read_duration(value)
        if read < least:
            raise ValueError(f"is shorter than {write_duration(least)}")
        return read

    return parse


def listed(value: str) -> tuple[str, ...]:
    """Comma-separated; blanks around items and empty items are dropped."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def labels(value: str) -> tuple[str, ...]:
    """Comma-separated labels, in the form that they have in a path."""
    found = tuple(item.lower() for item in listed(value))
    if any(_LABEL.fullmatch(item) is None for item in found):
        raise ValueError("is not a list of labels made of letters, digits and hyphens")
    if len(set(found)) != len(found):
        raise ValueError("has a label twice")
    return found


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        word = value.strip().lower()
        if word not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return word

    return parse


def path(value: str) -> Path:
    return Path(value.strip()).expanduser().absolute()


def web_address(value: str) -> str:
    """An http or https URL without query; a trailing slash is dropped."""
    address = value.strip().rstrip("/")
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not an address such as https://certctl.example.org")
    return address


def dsn(value: str) -> str:
    """A PostgreSQL address, or libpq's own form (`host=db dbname=certctl`)."""
    address = value.strip()
    scheme = urllib.parse.urlsplit(address).scheme if "://" in address else ""
    if scheme not in ("postgres", "postgresql") and ("://" in address or "=" not in address):
        raise ValueError("is not an address such as postgresql://user:password@host:5432/certctl")
    return address


def networks(value: str) -> tuple[Network, ...]:
    """Addresses and networks such as 10.0.0.0/8, comma-separated."""
    try:
        return tuple(ipaddress.ip_network(item) for item in listed(value))
    except ValueError as error:
        raise ValueError(f"is not a list of addresses or networks: {error}") from None


def keys_with_names(value: str) -> tuple[NamedKey, ...]:
    """`name:key[:admin]`, comma-separated."""
    keys = []
    for item in listed(value):
        name, _, rest = item.partition(":")
        key, _, role = rest.partition(":")
        if not name or not key or role not in ("", "admin"):
            raise ValueError("is not a list of name:key or name:key:admin")
        keys.append(NamedKey(name, key, Role.ADMIN if role else Role.OPERATOR))
    if len({key.name for key in keys}) != len(keys):
        raise ValueError("has two keys of one name")
    return tuple(keys)


def keys_alone(value: str) -> tuple[NamedKey, ...]:
    """Keys alone, comma-separated; they are called legacy-key-0, legacy-key-1 and so on."""
    return tuple(NamedKey(f"legacy-key-{n}", key, Role.OPERATOR) for n, key in enumerate(listed(value)))
