"""The settings of EST: one set for what has no label, one for each label."""

from pathlib import Path

import pytest

from certctl_core.errors import NotConfigured
from certctl_core.usecases.est import Method
from certctl_web import est_service, settings
from certctl_web.settings import Reading


def read(**given: str) -> Reading:
    return settings.read({f"CERTCTL_EST_{name}": value for name, value in given.items()})


def test_est_is_off_unless_it_is_switched_on() -> None:
    assert read().settings.est_doors == {}
    assert read(PROFILES="phones").settings.est_doors == {}


def test_labels_have_settings_of_their_own() -> None:
    found = read(
        ENABLED="true",
        PROFILES="phones,door-locks",
        PROFILE_ID="prof-1",
        PROFILE_PHONES_ISSUER_ID="iss-phones",
        PROFILE_PHONES_ENROLLMENT_PASSWORD="a password",
        PROFILE_DOOR_LOCKS_ALLOWED_AUTH_MODES="MTLS",
        PROFILE_DOOR_LOCKS_RATE_LIMIT_PER_PRINCIPAL_24H="4",
    )
    assert (found.problems, found.warnings) == ((), ())
    doors = found.settings.est_doors
    assert sorted(doors) == ["", "door-locks", "phones"]
    assert (doors[""].profile_id, doors[""].issuer_id) == ("prof-1", "iss-local")
    assert doors["phones"].issuer_id == "iss-phones"
    assert doors["phones"].password is not None
    assert doors["phones"].password.is_it("a password")
    assert doors["door-locks"].accepted == {Method.MTLS}
    assert doors["door-locks"].per_day == 4
    shown = {one.name: one.value for one in settings.describe(found)}
    assert shown["CERTCTL_EST_PROFILE_PHONES_ENROLLMENT_PASSWORD"] == settings.MASK
    assert shown["CERTCTL_EST_ALLOWED_AUTH_MODES"] == "basic, mtls"
    assert "a password" not in repr(found)


def test_enrolling_anybody_is_warned_about() -> None:
    (warning,) = read(ENABLED="true", ALLOWED_AUTH_MODES="none,mtls").warnings
    assert "whoever reaches /.well-known/est/ is issued a certificate" in warning


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"ALLOWED_AUTH_MODES": "mtls", "MTLS_ENABLED": "false"}, "ALLOWED_AUTH_MODES"),
        ({"ALLOWED_AUTH_MODES": "password"}, "ALLOWED_AUTH_MODES"),
        ({"CHANNEL_BINDING_REQUIRED": "true"}, "CERTCTL_SERVER_TLS_MIN_VERSION=1.2"),
        ({"SERVERKEYGEN_ENABLED": "true", "MTLS_ENABLED": "false"}, "SERVERKEYGEN_ENABLED"),
        ({"MTLS_CLIENT_CA_TRUST_BUNDLE_PATH": "/x.pem", "MTLS_ENABLED": "false"}, "TRUST_BUNDLE_PATH"),
    ],
)
def test_what_makes_no_label_is_named(given: dict[str, str], named: str) -> None:
    (problem,) = read(ENABLED="true", **given).problems
    assert named in problem


def test_a_setting_of_a_label_that_is_not_there_is_reported() -> None:
    (warning,) = read(ENABLED="true", PROFILE_PHONES_ISSUER_ID="x").warnings
    assert "CERTCTL_EST_PROFILE_PHONES_ISSUER_ID is not a setting" in warning


def test_labels_are_made_of_settings_and_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    made = est_service.labels(read(ENABLED="true", PROFILES="phones").settings)
    assert sorted(made.by_name) == ["", "phones"]
    missing = read(ENABLED="true", MTLS_CLIENT_CA_TRUST_BUNDLE_PATH=str(tmp_path / "bundle.pem"))
    with pytest.raises(NotConfigured, match=r"bundle\.pem"):
        est_service.labels(missing.settings)
