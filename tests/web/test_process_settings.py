"""The server's settings: what the environment may say, and what is said back when it is wrong."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.models.access import Role
from certctl_web import setting, settings
from certctl_web.setting import NamedKey
from certctl_web.settings import MASK, Settings, SettingsError


def test_an_empty_environment_gives_the_defaults() -> None:
    reading = settings.load({})
    assert reading.settings == Settings()
    assert (reading.settings.web.host, reading.settings.web.port) == ("127.0.0.1", 8443)
    assert set(reading.sources.values()) == {"default"}
    assert reading.warnings == ()


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings.load({"CERTCTL_SERVER_PORT": "", "CERTCTL_DATABASE_URL": "  "}).settings == Settings()


def test_values_are_read_by_their_type() -> None:
    read = settings.load(
        {
            "CERTCTL_SERVER_PORT": "9443",
            "CERTCTL_SCHEDULER_RENEWAL_CHECK_INTERVAL": "1h30m",
            "CERTCTL_RATE_LIMIT_ENABLED": "no",
            "CERTCTL_RATE_LIMIT_RPS": "2.5",
            "CERTCTL_CORS_ORIGINS": "https://a.example, https://b.example,",
            "CERTCTL_API_KEYS_NAMED": "ci:a-long-enough-key-for-this,ops:another-long-enough-key:admin",
            "CERTCTL_PUBLIC_URL": "https://certctl.example/",
        }
    ).settings
    assert read.web.port == 9443
    assert read.schedule.renewal_check == timedelta(minutes=90)
    assert not read.web.rate_limit_enabled
    assert read.web.rate_limit_rps == 2.5
    assert read.web.cors_origins == ("https://a.example", "https://b.example")
    assert read.web.public_url == "https://certctl.example"
    assert read.access.given_keys == (
        NamedKey("ci", "a-long-enough-key-for-this", Role.OPERATOR),
        NamedKey("ops", "another-long-enough-key", Role.ADMIN),
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SERVER_PORT", "https", "is not a whole number"),
        ("SERVER_PORT", "70000", "is not between 1 and 65535"),
        ("RATE_LIMIT_ENABLED", "maybe", "is neither true nor false"),
        ("RATE_LIMIT_RPS", "0", "is not greater than 0"),
        ("RATE_LIMIT_RPS", "nan", "is not greater than 0"),
        ("SCHEDULER_RETRY_INTERVAL", "5", "is not a duration such as 30s"),
        ("SCHEDULER_RETRY_INTERVAL", "5 minutes", "is not a duration such as 30s"),
        ("SCHEDULER_RETRY_INTERVAL", "10ms", "is shorter than 1s"),
        ("LOG_LEVEL", "loud", "is none of debug, info, warn, error"),
        ("AUTH_TYPE", "jwt", "is none of api-key, none"),
        ("DATABASE_URL", "mysql://localhost/certctl", "is not an address such as postgresql://"),
        ("PUBLIC_URL", "certctl.example.org", "is not an address such as https://"),
        ("API_KEYS_NAMED", "just-a-key", "is not a list of name:key"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings.load({f"CERTCTL_{name}": value})
    (problem,) = raised.value.problems
    assert problem.startswith(f"CERTCTL_{name}")
    assert words in problem


def test_every_problem_is_told_at_once() -> None:
    reading = settings.read({"CERTCTL_SERVER_PORT": "x", "CERTCTL_LOG_LEVEL": "x", "CERTCTL_CA_CERT_PATH": "/ca.pem"})
    assert len(reading.problems) == 3
    assert "CERTCTL_CA_CERT_PATH and CERTCTL_CA_KEY_PATH belong together: set both or neither" in reading.problems


def test_the_value_of_a_bad_secret_is_not_repeated() -> None:
    reading = settings.read({"CERTCTL_DATABASE_URL": "mysql://root:hunter2@db/x"})
    assert "hunter2" not in str(reading.problems)


def test_no_authentication_is_for_loopback_only() -> None:
    open_to_all = {"CERTCTL_AUTH_TYPE": "none", "CERTCTL_SERVER_HOST": "0.0.0.0"}  # noqa: S104
    assert "makes everybody who reaches 0.0.0.0 an administrator" in settings.read(open_to_all).problems[0]
    allowed = settings.load({**open_to_all, "CERTCTL_AUTH_NONE_ANYWHERE": "true"})
    assert "every caller is an administrator" in allowed.warnings[0]
    assert (
        settings.load({"CERTCTL_AUTH_TYPE": "none", "CERTCTL_SERVER_HOST": "::1"}).settings.access.auth_type == "none"
    )


def test_keys_of_the_environment_have_names_and_no_more_rights_than_they_say() -> None:
    named = {"CERTCTL_API_KEYS_NAMED": "ci:0123456789abcdefghij, root:jihgfedcba9876543210:admin"}
    unnamed = {"CERTCTL_AUTH_SECRET": "first-key-of-the-environment,second-key-of-the-environment"}
    legacy = settings.load(unnamed).settings.access.given_keys
    assert [(key.name, key.role) for key in legacy] == [
        ("legacy-key-0", Role.OPERATOR),
        ("legacy-key-1", Role.OPERATOR),
    ]
    both = settings.load({**named, **unnamed})
    assert [(key.name, key.key, key.role) for key in both.settings.access.given_keys] == [
        ("ci", "0123456789abcdefghij", Role.OPERATOR),
        ("root", "jihgfedcba9876543210", Role.ADMIN),
    ]
    assert "CERTCTL_AUTH_SECRET is ignored because CERTCTL_API_KEYS_NAMED is set" in both.warnings


def test_bypassing_approvals_is_warned_of() -> None:
    reading = settings.read({"CERTCTL_APPROVAL_BYPASS": "true"})
    assert reading.settings.jobs.approval_bypass
    assert "without anybody looking at it" in reading.warnings[0]


def test_an_unknown_variable_is_reported_with_the_nearest_name() -> None:
    reading = settings.load({"CERTCTL_SERVER_PROT": "1", "CERTCTL_WHATEVER": "1", "PATH": "/bin"})
    assert reading.warnings == (
        "CERTCTL_SERVER_PROT is not a setting of the server; did you mean CERTCTL_SERVER_PORT?",
        "CERTCTL_WHATEVER is not a setting of the server",
    )


def test_a_secret_may_be_given_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("correct horse battery staple\n")
    reading = settings.load({"CERTCTL_CONFIG_ENCRYPTION_KEY_FILE": str(file)})
    assert reading.settings.storage.encryption_key == "correct horse battery staple"
    assert reading.sources["CERTCTL_CONFIG_ENCRYPTION_KEY"] == "file"
    missing = settings.read({"CERTCTL_CONFIG_ENCRYPTION_KEY_FILE": str(tmp_path / "none")})
    assert "cannot be read from" in missing.problems[0]
    both = settings.read({"CERTCTL_CONFIG_ENCRYPTION_KEY_FILE": str(file), "CERTCTL_CONFIG_ENCRYPTION_KEY": "x"})
    assert "are both set" in both.problems[0]


def test_secrets_are_in_no_description_and_no_repr() -> None:
    environment = {
        "CERTCTL_DATABASE_URL": "postgresql://certctl:s3cret-one@db/certctl",
        "CERTCTL_CONFIG_ENCRYPTION_KEY": "s3cret-two",
        "CERTCTL_AUTH_SECRET": "s3cret-three",
        "CERTCTL_API_KEYS_NAMED": "ops:s3cret-four:admin",
    }
    reading = settings.load(environment)
    assert "s3cret" not in repr(reading)
    described = {row.name: row for row in settings.describe(reading)}
    assert {described[name].value for name in environment} == {MASK}
    assert {described[name].source for name in environment} == {"env"}
    assert described["CERTCTL_SERVER_PORT"].source == "default"


def test_every_setting_is_described_once_except_hidden_ones() -> None:
    described = settings.describe(settings.load({}))
    names = [row.name for row in described]
    assert len(names) == len(set(names))
    assert "CERTCTL_TRIPWIRE" not in names
    assert all(row.help.endswith(".") for row in described)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert setting.read_duration(setting.write_duration(length)) == length


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(value: str) -> None:
    try:
        assert setting.read_duration(value) >= timedelta(0)
    except ValueError as error:
        assert str(error)  # noqa: PT017
