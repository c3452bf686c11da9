"""The doors of SCEP as the environment describes them, and what is said when it describes none that may be open."""

import os
from pathlib import Path

import pytest
from cryptography import x509

from certctl_adapters.memory import MemoryStore
from certctl_core.errors import NotConfigured
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import cms, keys
from certctl_web import belonging, files, scep_service, settings
from certctl_web.options import Options
from certctl_web.scep_settings import ScepDoor
from certctl_web.settings import SettingsError
from tests import devices, strangers
from tests.authority import pem
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, make_api, make_ports

ON = {"CERTCTL_SCEP_ENABLED": "true"}
CHALLENGE = {"CERTCTL_SCEP_CHALLENGE_PASSWORD": "open sesame"}


def doors(**given: str) -> dict[str, ScepDoor]:
    return settings.load({**ON, **{f"CERTCTL_SCEP_{name}": value for name, value in given.items()}}).settings.scep_doors


def problems(**given: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        doors(**given)
    return raised.value.problems


def test_nothing_is_open_by_default() -> None:
    assert settings.load({}).settings.scep_doors == {}
    assert settings.load(CHALLENGE).settings.scep_doors == {}


def test_a_door_without_a_challenge_stops_the_start() -> None:
    (problem,) = problems()
    assert "CERTCTL_SCEP_CHALLENGE_PASSWORD is not set" in problem
    assert "anybody could enrol" in problem
    (problem,) = problems(PROFILES="phones", CHALLENGE_PASSWORD="open sesame")
    assert "CERTCTL_SCEP_PROFILE_PHONES_CHALLENGE_PASSWORD is not set" in problem


@pytest.mark.parametrize(
    "given",
    [
        {"CHALLENGE_PASSWORD": "open sesame"},
        {"ONE_TIME_CHALLENGES": "true"},
        {"INTUNE_ENABLED": "true", "INTUNE_CONNECTOR_CERT_PATH": "/c.pem", "INTUNE_AUDIENCE": "us"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_one_kind_of_challenge_is_enough(given: dict[str, str]) -> None:
    assert list(doors(**given)) == [""]


def test_the_challenge_is_kept_as_a_hash() -> None:
    (door,) = doors(CHALLENGE_PASSWORD="open sesame").values()
    assert door.challenge is not None
    assert (door.challenge.is_it("open sesame"), door.challenge.is_it("open")) == (True, False)
    reading = settings.load({**ON, **CHALLENGE})
    assert "sesame" not in repr(reading.settings)
    assert "sesame" not in str(settings.describe(reading))


def test_labels_have_settings_of_their_own() -> None:
    found = doors(
        PROFILES="phones, old-routers",
        PROFILE_PHONES_ONE_TIME_CHALLENGES="true",
        PROFILE_PHONES_ISSUER_ID="iss-phones",
        PROFILE_OLD_ROUTERS_CHALLENGE_PASSWORD="router",
        PROFILE_OLD_ROUTERS_ALLOW_3DES="true",
    )
    assert set(found) == {"phones", "old-routers"}
    assert (found["phones"].issuer_id, found["phones"].one_time) == ("iss-phones", True)
    assert found["old-routers"].allow_3des
    assert set(doors(PROFILES="phones", PROFILE_PHONES_CHALLENGE_PASSWORD="x", CHALLENGE_PASSWORD="y")) == {
        "",
        "phones",
    }


def test_what_belongs_to_no_label_is_reported() -> None:
    given = {**ON, **CHALLENGE, "CERTCTL_SCEP_PROFILE_PHONES_ISSUER_ID": "iss-local"}
    assert any("CERTCTL_SCEP_PROFILE_PHONES_ISSUER_ID is not a setting" in one for one in settings.load(given).warnings)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RA_CERT_PATH": "/ra.pem"}, "belong together"),
        ({"MTLS_ENABLED": "true"}, "needs CERTCTL_SCEP_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH"),
        ({"INTUNE_ENABLED": "true"}, "needs CERTCTL_SCEP_INTUNE_CONNECTOR_CERT_PATH"),
        ({"PROFILES": "Phones,phones"}, "has a label twice"),
        ({"PROFILES": "a/b"}, "is not a list of labels"),
        ({"INTUNE_PER_DEVICE_RATE_LIMIT_24H": "-1"}, "is not between"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_what_makes_no_door_is_said_by_name(given: dict[str, str], words: str) -> None:
    assert any(words in problem for problem in problems(CHALLENGE_PASSWORD="open sesame", **given))


def test_old_algorithms_are_open_to_who_asks_for_them() -> None:
    def accepted(**given: str) -> cms.Accepted:
        read = settings.load({**ON, **CHALLENGE, **{f"CERTCTL_SCEP_{name}": value for name, value in given.items()}})
        return scep_service.doors(read.settings).get("").accepted

    assert accepted() == cms.MODERN
    assert accepted(ALLOW_3DES="true") == cms.MODERN.also(cms.Cipher.TRIPLE_DES)
    assert accepted(ALLOW_LEGACY="true") == devices.EVERYTHING
    warned = settings.load({**ON, **CHALLENGE, "CERTCTL_SCEP_ALLOW_LEGACY": "true"}).warnings
    assert any("DES can be broken" in one for one in warned)


def test_a_door_to_what_is_not_there_stops_the_start() -> None:
    clock = MovableClock()
    api = make_api(Options(given_keys=GIVEN), make_ports(MemoryStore().work, clock), clock)
    api.foundations()
    good = {"OWNER_ID": "o-1", "TEAM_ID": "t-1"}
    for name in ("", "ISSUER_ID", "PROFILE_ID", "OWNER_ID", "TEAM_ID", "RENEWAL_POLICY_ID"):
        given = {**good, **({name: "nowhere"} if name else {})}
        read = settings.load({**ON, **CHALLENGE, **{f"CERTCTL_SCEP_{key}": value for key, value in given.items()}})
        if not name:
            belonging.require_known(api.ports, EnrolmentProtocol.SCEP, read.settings.scep_doors)
            continue
        with pytest.raises(NotConfigured, match=f"CERTCTL_SCEP_{name}=nowhere"):
            belonging.require_known(api.ports, EnrolmentProtocol.SCEP, read.settings.scep_doors)
    api.app.close()


# Files


def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "ra.key").write_text(keys.to_pem(devices.rsa_key("other")))
    (tmp_path / "ra.pem").write_text(pem(devices.registration_authority()))
    for certificate, words in (("ra.pem", "not that of the certificate"), ("none.pem", "cannot be read")):
        paths = {"RA_CERT_PATH": str(tmp_path / certificate), "RA_KEY_PATH": str(tmp_path / "ra.key")}
        read = settings.load({**ON, **CHALLENGE, **{f"CERTCTL_SCEP_{key}": value for key, value in paths.items()}})
        with pytest.raises(NotConfigured, match=words):
            scep_service.doors(read.settings)


def _written(path: Path, *certificates: x509.Certificate, second: int) -> None:
    path.write_text(pem(*certificates))
    os.utime(path, (second, second))


def test_a_file_is_followed_and_a_bad_one_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    first, second = strangers.certificate("first"), strangers.certificate("second")
    _written(path, first, second=1)
    watched = files.bundle(path)
    assert watched() == (first,)
    _written(path, second, first, second=2)
    assert watched() == (second, first)
    _written(path, second=3)
    assert watched() == (second, first)
    with pytest.raises(NotConfigured, match=r"bundle\.pem"):
        watched.reload()
    path.unlink()
    assert watched() == (second, first)
    _written(path, first, second=4)
    assert watched.reload() == (first,) == watched()


def test_a_file_over_the_cap_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(b"x" * (files.MAX_BYTES + 1))
    with pytest.raises(NotConfigured, match="over"):
        files.bundle(path)()
