"""Logging in and out, and what is stored."""

import io
import json
from pathlib import Path

import pytest

from certctl_cli import profiles
from certctl_cli.profiles import Profile, SettingsError
from certctl_core.models.access import Role
from certctl_core.pki import reading
from tests.cli.conftest import Certctl
from tests.serving import Plane
from tests.web.api import KEYS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config" / "certctl" / "profiles.json"


def test_who_has_logged_in_need_not_say_where_and_who(plane: Plane, anywhere: Certctl, config: Path) -> None:
    url = plane.environment()["CERTCTL_SERVER_URL"]
    words = ("login", "--server", url, "--ca-bundle", str(plane.ca_bundle), "--api-key", KEYS[Role.VIEWER])
    said = anywhere(*words)
    assert (said.status, said.out) == (0, f"Logged in to {url} as viewer-person (viewer).\n")
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o777 == 0o700
    assert anywhere("certs", "list").status == 0
    assert anywhere("logins").cells[1] == ["default", url, "its own"]
    assert KEYS[Role.VIEWER] not in anywhere("logins", "--format", "json").out
    assert anywhere("logout").status == 0
    assert anywhere("logout").status == 2
    assert anywhere("certs", "list").status == 3


def test_a_key_can_be_piped_in(plane: Plane, anywhere: Certctl, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEYS[Role.ADMIN]}\n"))
    url = plane.environment()["CERTCTL_SERVER_URL"]
    words = ("--server", url, "--ca-bundle", str(plane.ca_bundle), "--profile", "lab", "login")
    assert anywhere(*words).status == 0
    assert json.loads(config.read_text())["lab"]["api_key"] == KEYS[Role.ADMIN]
    assert anywhere("--profile", "lab", "auth", "info").status == 0
    assert anywhere("--profile", "nowhere", "auth", "info").status == 2


def test_a_wrong_key_is_not_stored(plane: Plane, anywhere: Certctl, config: Path) -> None:
    url = plane.environment()["CERTCTL_SERVER_URL"]
    said = anywhere("login", "--server", url, "--ca-bundle", str(plane.ca_bundle), "--api-key", "cck_wrong")
    assert (said.status, config.exists()) == (4, False)


def test_no_key_is_said_to_be_missing(plane: Plane, anywhere: Certctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = anywhere("login", "--server", "https://localhost:1")
    assert said.status == 2
    assert "no API key was given" in said.err


def test_a_stored_key_goes_to_its_own_server_only(plane: Plane, anywhere: Certctl, config: Path) -> None:
    url = plane.environment()["CERTCTL_SERVER_URL"]
    profiles.store(config, "default", Profile(server_url="https://elsewhere.example", api_key=KEYS[Role.ADMIN]))
    said = anywhere("--server", url, "--ca-bundle", str(plane.ca_bundle), "certs", "list")
    assert said.status == 4
    assert "Authorization header required" in said.err


def test_a_file_that_others_can_read_is_not_believed(anywhere: Certctl, config: Path) -> None:
    profiles.store(config, "default", Profile(server_url="https://elsewhere.example", api_key="cck_x"))
    config.chmod(0o644)
    said = anywhere("certs", "list")
    assert said.status == 2
    assert f"chmod 600 {config}" in said.err


@pytest.mark.parametrize("content", ["", "[]", '{"default": 1}', '{"default": {"server": "x"}}'])
def test_a_file_that_holds_no_profiles_is_said_to(config: Path, content: str) -> None:
    config.parent.mkdir(parents=True)
    config.touch(mode=0o600)
    config.write_text(content)
    with pytest.raises(SettingsError, match="holds no profiles"):
        profiles.load(config)


def test_the_ca_can_be_pinned_by_its_fingerprint(plane: Plane, anywhere: Certctl) -> None:
    url = plane.environment()["CERTCTL_SERVER_URL"]
    right = reading.fingerprint(plane.authority.certificate)
    words = ("login", "--server", url, "--api-key", KEYS[Role.ADMIN], "--ca-fingerprint")
    assert anywhere(*words, "sha256:xyz").status == 2
    refused = anywhere(*words, "0" * 64)
    assert refused.status in (3, 4, 5)
    assert right in refused.err or "not found" in refused.err or "nothing at" in refused.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(anywhere: Certctl, shell: str) -> None:
    said = anywhere("completion", shell)
    assert said.status == 0
    assert "_ARGCOMPLETE" in said.out
    assert "certctl" in said.out
