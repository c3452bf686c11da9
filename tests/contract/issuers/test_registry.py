"""The registry: configured issuers become issuers, and a CA made once is the same for every process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from attrs import evolve

from certctl_adapters import issuers
from certctl_adapters.issuers import Connector, InstalledIssuers
from certctl_adapters.issuers.local import LocalIssuer, LocalSettings
from certctl_adapters.memory import MemoryStore
from certctl_adapters.secretbox import PassphraseBox
from certctl_adapters.settings import setting
from certctl_adapters.settings import settings as settings_class
from certctl_core.errors import Invalid, NotConfigured, Unreadable
from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.pki import keys
from certctl_core.ports.issuer import Issuer
from tests import plans
from tests.contract.issuers.fake import PatientCa
from tests.stand_ins import MovableClock

BOX = PassphraseBox("correct horse battery staple")
CLOCK = MovableClock(plans.NOW)


def _configured(store: MemoryStore, **changes: Any) -> ConfiguredIssuer:
    usual = ConfiguredIssuer(
        id=IssuerId("iss-local"), name="Local CA", type="GenericCA", created_at=plans.NOW, updated_at=plans.NOW
    )
    configured = evolve(usual, **changes)
    with store.work() as work:
        work.issuers.add(configured)
    return configured


def _registry(store: MemoryStore, box: PassphraseBox = BOX) -> InstalledIssuers:
    return InstalledIssuers(store.work, box, CLOCK)


def _local(connected: Issuer) -> LocalIssuer:
    assert isinstance(connected, LocalIssuer)
    return connected


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_restart_and_a_replica_sign_with_the_same_ca(store: MemoryStore) -> None:
    configured = _configured(store)
    first = _local(_registry(store).connect(configured))
    second = _local(_registry(store).connect(configured))
    assert first.authority.chain == second.authority.chain
    assert keys.same_key(first.authority.private_key, second.authority.private_key)


def test_a_ca_is_opened_once_a_process(store: MemoryStore) -> None:
    class CountingBox(PassphraseBox):
        opened = 0

        def open(self, sealed: bytes) -> bytes:
            self.opened += 1
            return super().open(sealed)

    box, configured = CountingBox("correct horse battery staple"), _configured(store)
    _registry(store).connect(configured)
    registry = _registry(store, box)
    connected = [_local(registry.connect(configured)) for _ in range(3)]
    assert len({one.authority.certificate for one in connected}) == 1
    assert box.opened == 1


def test_a_ca_is_at_hand_once_it_is_open_and_until_its_issuer_changes(store: MemoryStore) -> None:
    registry, configured = _registry(store), _configured(store)
    assert registry.at_hand(configured) is None
    connected = _local(registry.connect(configured))

    with store.work():  # nothing is read, which a second work inside of this one would be
        found = registry.at_hand(configured)
    assert found is not None
    assert _local(found).authority is connected.authority

    assert registry.at_hand(evolve(configured, revision=configured.revision + 1)) is None
    assert registry.at_hand(evolve(configured, type="PatientCA")) is None
    CLOCK.advance(timedelta(days=365 * 50))
    try:
        assert registry.at_hand(configured) is None, "a CA that has expired signs nothing"
    finally:
        CLOCK.advance(-timedelta(days=365 * 50))


def test_replicas_that_start_together_agree_on_one_ca(store: MemoryStore) -> None:
    configured = _configured(store)
    with ThreadPoolExecutor(8) as pool:
        connected = list(pool.map(lambda _: _local(_registry(store).connect(configured)), range(8)))
    assert len({one.authority.certificate for one in connected}) == 1


def test_the_key_of_a_ca_is_sealed_where_it_is_kept(store: MemoryStore) -> None:
    authority = _local(_registry(store).connect(_configured(store))).authority
    with store.work() as work:
        stored = work.authorities.find("iss-local")
    assert stored is not None
    assert keys.to_der(authority.private_key) not in stored.sealed_key
    assert BOX.open(stored.sealed_key) == keys.to_der(authority.private_key)
    assert stored.issuer_id == "iss-local"


def test_another_encryption_key_does_not_make_another_ca(store: MemoryStore) -> None:
    configured = _configured(store)
    _registry(store).connect(configured)
    with pytest.raises(Unreadable, match="sealed"):
        _registry(store, PassphraseBox("another passphrase altogether")).connect(configured)


def test_an_issuer_made_anew_under_its_old_id_has_a_new_ca(store: MemoryStore) -> None:
    registry = _registry(store)
    first = _local(registry.connect(_configured(store))).authority
    with store.work() as work:
        work.issuers.remove("iss-local")
    again = _configured(store, created_at=plans.NOW + timedelta(days=1))
    assert _local(registry.connect(again)).authority.certificate != first.certificate


def test_two_issuers_have_two_cas(store: MemoryStore) -> None:
    registry = _registry(store)
    one = _local(registry.connect(_configured(store)))
    two = _local(registry.connect(_configured(store, id=IssuerId("iss-2"), name="Other")))
    assert one.authority.certificate != two.authority.certificate


def test_settings_reach_the_issuer_also_when_they_are_sealed(store: MemoryStore) -> None:
    config = {"ca_common_name": "Shown"}
    shown = _local(_registry(store).connect(_configured(store, config=config)))
    assert shown.settings.ca_common_name == "Shown"
    sealed = BOX.seal(b'{"ca_common_name": "Sealed", "validity_days": 7}')
    other = _configured(store, id=IssuerId("iss-2"), name="Other", config=config, sealed_config=sealed)
    assert _local(_registry(store).connect(other)).settings == LocalSettings(ca_common_name="Sealed", validity_days=7)


@pytest.mark.parametrize("name", ["GenericCA", "genericca", "GENERICCA", "local", "Local_CA", " local "])
def test_every_accepted_spelling_of_a_type_has_one_canonical_name(store: MemoryStore, name: str) -> None:
    canonical, config = _registry(store).check(IssuerId("iss-1"), name, {"validity_days": 30})
    assert canonical == "GenericCA"
    assert config["validity_days"] == 30
    assert config["ca_common_name"] == "CertCtl Local CA"
    assert _registry(store).secret_keys(name) == frozenset()


def test_an_unknown_type_is_refused_by_field(store: MemoryStore) -> None:
    with pytest.raises(Invalid, match="GenericCA") as caught:
        _registry(store).check(IssuerId("iss-1"), "Nonesuch", {})
    assert [problem.field for problem in caught.value.fields] == ["type"]


def test_a_stored_type_that_is_not_installed_any_more_says_so(store: MemoryStore) -> None:
    with pytest.raises(NotConfigured, match="not installed"):
        _registry(store).connect(_configured(store, type="Nonesuch"))


def test_wrong_settings_are_refused_by_field(store: MemoryStore) -> None:
    with pytest.raises(Invalid) as caught:
        _registry(store).check(IssuerId("iss-1"), "local", {"validity_days": 0, "nonesuch": 1})
    assert {problem.field for problem in caught.value.fields} == {"validity_days", "nonesuch"}


@settings_class
class PatientSettings:
    """Settings of a stranger's connector."""

    token: str = setting(help="A token.", secret=True)


PATIENT = Connector(PatientSettings, lambda chosen, keep, now: PatientCa(plans.authority()))
IMPOSTOR = Connector(PatientSettings, lambda chosen, keep, now: PatientCa(plans.authority()))


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two installed packages with connectors: one of a new type, one with the name of ours."""
    found = [
        EntryPoint("Patient", f"{__name__}:PATIENT", "certctl.issuers"),
        EntryPoint("GenericCA", f"{__name__}:IMPOSTOR", "certctl.issuers"),
    ]
    monkeypatch.setattr(issuers, "entry_points", lambda group: found if group == "certctl.issuers" else [])
    issuers.connectors.cache_clear()
    yield
    issuers.connectors.cache_clear()


@pytest.mark.usefixtures("strangers")
def test_a_strangers_connector_is_found_and_cannot_replace_ours(store: MemoryStore) -> None:
    registry = _registry(store)
    assert registry.check(IssuerId("iss-1"), "patient", {"token": "s"}) == ("Patient", {"token": "s"})
    assert registry.secret_keys("Patient") == {"token"}
    configured = _configured(store, type="Patient", config={"token": "s"})
    assert isinstance(registry.connect(configured), PatientCa)
    assert issuers.connectors()["GenericCA"] is issuers.CONNECTORS["GenericCA"]
