"""Settings of EST: of the service, and of each of its labels.

What has no label is at `/.well-known/est/`. `EST_PROFILES=phones` makes a label, `/.well-known/est/phones/`, with
settings of its own that are called as those of the first are, with `EST_PROFILE_PHONES_` in the place of `EST_`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from attrs import field, frozen

from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.usecases.est import Method
from certctl_web.setting import PREFIX, Row, boolean, labels, listed, of_label, path, text, whole

_PASSWORD: Final = "EST_ENROLLMENT_PASSWORD"  # noqa: S105 - the name of a setting
_BUNDLE: Final = "EST_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH"


def auth_modes(value: str) -> frozenset[Method]:
    """Comma-separated names of `Method`."""
    known = {method.value: method for method in Method}
    found = [item.lower() for item in listed(value)]
    if not found or set(found) - set(known):
        raise ValueError(f"is not a list of {', '.join(known)}")
    return frozenset(known[item] for item in found)


@frozen
class EstDoor:
    """One label. The names of its settings are those of what has no label."""

    issuer_id: Annotated[str, Row("EST_ISSUER_ID", text, "Issuer whose certificates are enrolled for.")] = "iss-local"
    profile_id: Annotated[
        str, Row("EST_PROFILE_ID", text, "Certificate profile of what is enrolled for; none by default.")
    ] = ""
    owner_id: Annotated[str, Row("EST_OWNER_ID", text, "Whose the certificates are.")] = "o-default"
    team_id: Annotated[str, Row("EST_TEAM_ID", text, "Whose team they belong to.")] = "t-default"
    renewal_policy_id: Annotated[
        str, Row("EST_RENEWAL_POLICY_ID", text, "By which it is told when a device should have renewed and has not.")
    ] = "rp-default"
    environment: Annotated[str, Row("EST_ENVIRONMENT", text, "The environment they are listed under.")] = ""
    methods: Annotated[
        frozenset[Method],
        Row(
            "EST_ALLOWED_AUTH_MODES",
            auth_modes,
            "How devices may show who they are, comma-separated: basic (the password or an enrolment secret), mtls "
            "(a TLS client certificate; needed to renew), none (anybody enrols).",
            default_text="basic, mtls",
        ),
    ] = frozenset({Method.BASIC, Method.MTLS})
    mtls_enabled: Annotated[
        bool,
        Row("EST_MTLS_ENABLED", boolean, "Ask for TLS client certificates; false takes mtls from the modes."),
    ] = True
    password: Annotated[
        SharedSecret | None,
        Row(
            _PASSWORD,
            SharedSecret.of,
            "Password that every device shows to enrol, beside enrolment secrets. Only a hash of it is kept in memory.",
            secret=True,
        ),
    ] = field(default=None, repr=False)
    bundle_path: Annotated[
        Path | None,
        Row(_BUNDLE, path, "CAs whose certificates enrol, PEM; read anew when it changes. None by default."),
    ] = None
    is_bound: Annotated[
        bool,
        Row(
            "EST_CHANNEL_BINDING_REQUIRED",
            boolean,
            "Want CSRs bound to their TLS session (RFC 7030 section 3.5). Takes TLS 1.2.",
        ),
    ] = False
    makes_keys: Annotated[
        bool,
        Row(
            "EST_SERVERKEYGEN_ENABLED",
            boolean,
            "Make keys for devices, enciphered for the RSA key of the TLS client certificate that they show.",
        ),
    ] = False
    per_day: Annotated[
        int,
        Row(
            "EST_RATE_LIMIT_PER_PRINCIPAL_24H",
            whole(0, 10_000),
            "Certificates that a device, told by its name, may have within 24 hours; 0 for any number.",
        ),
    ] = 0

    @property
    def accepted(self) -> frozenset[Method]:
        """The modes, less what is taken from them."""
        return self.methods if self.mtls_enabled else self.methods - {Method.MTLS}


@frozen
class Est:
    """The service."""

    enabled: Annotated[bool, Row("EST_ENABLED", boolean, "Answer EST (RFC 7030) at /.well-known/est/.")] = False
    profiles: Annotated[
        tuple[str, ...],
        Row(
            "EST_PROFILES",
            labels,
            "Labels, comma-separated: phones is /.well-known/est/phones/, and its settings are called "
            "EST_PROFILE_PHONES_ISSUER_ID and so on.",
        ),
    ] = ()


def doors(service: Est, first: EstDoor, others: dict[str, EstDoor]) -> dict[str, EstDoor]:
    """Those there are, by label."""
    return {"": first, **others} if service.enabled else {}


def contradictions(found: dict[str, EstDoor], *, tls_1_2: bool) -> Iterator[str]:
    """What does not make a label, one sentence each."""
    for label, door in found.items():
        if not door.accepted:
            yield f"{PREFIX}{called('EST_ALLOWED_AUTH_MODES', label)} leaves no way to show who one is"
        if door.bundle_path is not None and Method.MTLS not in door.accepted:
            yield f"{PREFIX}{called(_BUNDLE, label)} is of no use without mtls among the modes"
        if door.is_bound and not tls_1_2:
            yield (
                f"{PREFIX}{called('EST_CHANNEL_BINDING_REQUIRED', label)} takes TLS 1.2: set "
                f"{PREFIX}SERVER_TLS_MIN_VERSION=1.2"
            )
        if door.makes_keys and Method.MTLS not in door.accepted:
            yield f"{PREFIX}{called('EST_SERVERKEYGEN_ENABLED', label)} needs mtls among the modes"


def oddities(found: dict[str, EstDoor]) -> Iterator[str]:
    """What works and should be thought about."""
    for label, door in found.items():
        if Method.NONE in door.accepted:
            name = f"{PREFIX}{called('EST_ALLOWED_AUTH_MODES', label)}"
            yield f"{name} has none: whoever reaches /.well-known/est/{label} is issued a certificate"


def called(name: str, label: str) -> str:
    """The name of a label's setting, from that of what has none."""
    return of_label("EST", name, label)
