"""Starting: an operator's mistake is one line that says what is wrong and what to do, never a traceback."""

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from attrs import evolve, frozen

from certctl_adapters.postgres import migrate
from certctl_core.errors import NotConfigured
from certctl_core.models.access import Role
from certctl_core.pki import checkpoint, reading
from certctl_core.usecases import access
from certctl_web import bootstrap, settings
from certctl_web.setting import NamedKey
from certctl_web.settings import Settings, Storage
from tests.authority import Authority

ROOT = Path(__file__).parents[2]
KEY = "a key for tests and nothing else"


@frozen
class Ended:
    status: int
    out: str
    err: str


def certctl_server(*arguments: str, **variables: str) -> Ended:
    """Run the program to its end with these CERTCTL_ variables alone."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment.update({f"CERTCTL_{name}": value for name, value in variables.items()})
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "certctl_web", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def given(url: str, data_dir: Path, key: str = KEY) -> Settings:
    return Settings(storage=Storage(data_dir=data_dir, database_url=url, encryption_key=key))


def test_help_names_the_commands() -> None:
    ended = certctl_server("--help")
    assert ended.status == 0
    assert all(name in ended.out for name in ("web", "worker", "migrate", "config", "token", "apikey"))
    assert "--gate" not in certctl_server("web", "--help").out


def test_a_bad_setting_is_named() -> None:
    ended = certctl_server(SERVER_PORT="https", LOG_LEVEL="loud")
    assert ended.status == 78
    assert ended.err.splitlines() == [
        "certctl-server: CERTCTL_SERVER_PORT=https is not a whole number",
        "certctl-server: CERTCTL_LOG_LEVEL=loud is none of debug, info, warn, error",
    ]


def test_config_shows_every_setting_and_no_secret() -> None:
    ended = certctl_server("config", CONFIG_ENCRYPTION_KEY="s3cret-phrase", SERVER_PROT="1", SERVER_PORT="9443")
    assert ended.status == 0
    assert "s3cret" not in ended.out + ended.err
    lines = {line.split()[0]: line.split()[1:3] for line in ended.out.splitlines()}
    assert lines["CERTCTL_CONFIG_ENCRYPTION_KEY"] == [settings.MASK, "env"]
    assert lines["CERTCTL_SERVER_PORT"] == ["9443", "env"]
    assert lines["CERTCTL_SERVER_HOST"] == ["127.0.0.1", "default"]
    assert len(lines) == len(settings.describe(settings.load({})))
    assert "did you mean CERTCTL_SERVER_PORT?" in ended.err


def test_config_also_tells_what_is_wrong() -> None:
    ended = certctl_server("config", SERVER_PORT="0")
    assert ended.status == 78
    assert "CERTCTL_SERVER_PORT=0 is not between 1 and 65535" in ended.err
    assert "CERTCTL_SERVER_HOST" in ended.out


def test_a_port_in_use_ends_the_start_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = certctl_server(SERVER_PORT=port, DATA_DIR=str(tmp_path / "data"))
    assert ended.status == 78
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ended.err
    assert not (tmp_path / "data").exists()


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"postgresql://certctl:pass-word@127.0.0.1:{port}/certctl"
    ended = certctl_server("worker", DATABASE_URL=url, CONFIG_ENCRYPTION_KEY=KEY, DATA_DIR=str(tmp_path))
    assert ended.status == 1
    assert ended.err.startswith("certctl-server: the database cannot be reached")
    assert "pass-word" not in ended.err


def test_a_named_database_needs_a_key(empty_database_url: str, tmp_path: Path) -> None:
    ended = certctl_server("worker", DATABASE_URL=empty_database_url, DATA_DIR=str(tmp_path))
    assert ended.status == 78
    assert "CERTCTL_DATABASE_URL is set and CERTCTL_CONFIG_ENCRYPTION_KEY is not" in ended.err
    assert "openssl rand -base64 32" in ended.err


def test_a_key_that_is_too_short_is_refused(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="at least 16"):
        bootstrap.prepare(given(database_url, tmp_path, "short"), database_url, serves=False)


def test_sealed_rows_and_another_key_refuse_the_start(database_url: str, tmp_path: Path) -> None:
    bootstrap.prepare(given(database_url, tmp_path), database_url, serves=False)
    with pytest.raises(NotConfigured, match="sealed with another encryption key") as told:
        bootstrap.prepare(given(database_url, tmp_path, "another key altogether"), database_url, serves=False)
    assert "CERTCTL_CONFIG_ENCRYPTION_KEY" in told.value.hint
    with pytest.raises(NotConfigured, match="is not") as told:
        bootstrap.prepare(given(database_url, tmp_path, ""), database_url, serves=False)
    assert "the one this database was filled with" in told.value.hint


def test_a_key_file_that_is_gone_is_not_replaced(database_url: str, tmp_path: Path) -> None:
    own = given(database_url, tmp_path, "")
    own = evolve(own, storage=evolve(own.storage, database_url=""))
    bootstrap.prepare(own, database_url, serves=False)
    file = tmp_path / "encryption.key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    with pytest.raises(NotConfigured, match=r"encryption\.key is gone"):
        bootstrap.prepare(own, database_url, serves=False)
    assert not file.exists()


def test_a_first_start_makes_everything_once(empty_database_url: str, tmp_path: Path) -> None:
    own = given(empty_database_url, tmp_path)
    key = bootstrap.prepare(own, empty_database_url, serves=True)
    assert key is not None
    assert key.startswith("cck_")
    assert bootstrap.prepare(own, empty_database_url, serves=True) is None
    with bootstrap.connected(own, empty_database_url, 2) as backend:
        assert access.authenticate(backend.ports, key).name == "admin"
        with backend.ports.work() as work:
            assert work.issuers.get("iss-local").name == "Local CA"
            assert work.profiles.get("prof-standard-tls").max_ttl
            assert work.authorities.find("iss-local") is not None
            assert work.owners.get("o-default").team_id == "t-default"
        pem = (tmp_path / "tls" / "ca.pem").read_bytes()
        assert reading.certificate(pem) == backend.control_plane().certificate
    assert all(state.applied_at for state in migrate.status(empty_database_url))


def test_the_key_of_the_audit_trail_is_told_at_the_first_start_and_on_demand(
    empty_database_url: str, tmp_path: Path
) -> None:
    configured = given(empty_database_url, tmp_path)
    with structlog.testing.capture_logs() as log:
        for _ in range(2):
            bootstrap.prepare(configured, empty_database_url, serves=False)
    (told,) = [line["verifier_key"] for line in log if line["event"] == "audit key made"]
    assert checkpoint.verifier(told).name.startswith("certctl/audit/")
    variables = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path), "CONFIG_ENCRYPTION_KEY": KEY}
    assert certctl_server("auditkey", **variables).out == f"{told}\n"


def test_keys_of_the_environment_make_an_admin_key_unnecessary(empty_database_url: str, tmp_path: Path) -> None:
    own = given(empty_database_url, tmp_path)
    named = NamedKey("ops", secrets.token_urlsafe(32), Role.ADMIN)
    own = evolve(own, access=settings.Access(named_keys=(named,)))
    assert bootstrap.prepare(own, empty_database_url, serves=False) is None


def test_a_ca_of_the_operators_is_the_local_ca(empty_database_url: str, tmp_path: Path) -> None:
    own = given(empty_database_url, tmp_path)
    bootstrap.prepare(own, empty_database_url, serves=False)
    certificate, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    own = evolve(own, local_ca=settings.LocalCa(certificate, key))
    bootstrap.prepare(own, empty_database_url, serves=False)
    with bootstrap.connected(own, empty_database_url, 2) as backend, backend.ports.work() as work:
        assert work.issuers.get("iss-local").config["ca_cert_path"] == str(certificate)


def test_commands_tell_a_database_that_is_not_set_up(empty_database_url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(NotConfigured, match="not set up") as told,
        bootstrap.managed(given(empty_database_url, tmp_path)) as backend,
    ):
        backend.control_plane()
    assert "certctl-server migrate" in told.value.hint


def test_keys_and_tokens_are_made_by_command(database_url: str, tmp_path: Path) -> None:
    bootstrap.prepare(given(database_url, tmp_path), database_url, serves=False)
    variables = {"DATABASE_URL": database_url, "CONFIG_ENCRYPTION_KEY": KEY, "DATA_DIR": str(tmp_path)}
    limits = ("--team", "t-default", "--environment", "production", "--environment", "test")
    made = certctl_server("apikey", "create", "ci", "--role", "viewer", "--expires-in", "24h", *limits, **variables)
    assert made.status == 0
    key = made.out.strip()
    with bootstrap.connected(given(database_url, tmp_path), database_url, 2) as backend:
        assert access.authenticate(backend.ports, key).role.value == "viewer"
    listing = certctl_server("apikey", "list", **variables)
    (line,) = [line for line in listing.out.splitlines() if line.endswith("  ci  (t-default, production, test)")]
    assert key not in listing.out
    assert certctl_server("apikey", "revoke", line.split()[0], **variables).status == 0
    assert "revoked" in certctl_server("apikey", **variables).out
    token = certctl_server("token", "--agent-name", "web1", "--ttl", "30m", **variables)
    assert "--ca-fingerprint sha256:" in token.out
    assert "--ca-bundle" not in token.out
    assert certctl_server("token", "--ttl", "soon", **variables).status == 78
    pair = Authority().leaf("localhost").write(tmp_path)
    variables |= {"SERVER_TLS_CERT_PATH": str(pair[0]), "SERVER_TLS_KEY_PATH": str(pair[1])}
    unpinned = certctl_server("token", **variables)
    assert "--ca-fingerprint" not in unpinned.out, "there is nothing of ours to pin"
    assert "--ca-bundle FILE" in unpinned.out


def test_a_tripwire_is_at_a_point_and_a_pass() -> None:
    wire = bootstrap.KillAt("issue:1", 2)
    wire("issue:1")
    wire("issue:2")
    wire("issue:2")
    assert wire._seen == {"issue:1": 1, "issue:2": 2}
