"""The NGINX target: which files it writes, what it runs, and what is left when something fails."""

import stat
from pathlib import Path
from typing import Any

import pytest

from certctl_adapters.host import Host
from certctl_adapters.settings import read
from certctl_adapters.targets import Catalog, connect, connector, known_types
from certctl_adapters.targets.nginx import NginxSettings, NginxTarget
from certctl_core.errors import DeploymentFailed, Invalid
from certctl_core.ports.target import Delivery
from tests.authority import Authority, Leaf, pem


class Bench:
    """A target whose commands are scripts that write down that they ran, and fail when told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._script("validate")
        self._script("reload")

    def _script(self, name: str) -> None:
        script = self.folder / name
        script.write_text(
            f"#!/bin/sh\ncat {self.folder}/cert.pem | md5sum >> {self.folder}/{name}.ran\n"
            f"[ -e {self.folder}/{name}.fails ] || exit 0\necho {name} says no; exit 1\n"
        )
        script.chmod(0o700)

    def target(self, **more: Any) -> NginxTarget:
        config = {
            "cert_path": f"{self.folder}/cert.pem",
            "key_path": f"{self.folder}/key.pem",
            "validate_command": f"{self.folder}/validate",
            "reload_command": f"{self.folder}/reload",
        }
        return NginxTarget(read(NginxSettings, config | more), Host.with_journals(self.folder / "journal"))

    def fail(self, name: str) -> None:
        (self.folder / f"{name}.fails").touch()

    def runs(self, name: str) -> list[str]:
        """One line a run: what cert.pem was then."""
        log = self.folder / f"{name}.ran"
        return log.read_text().splitlines() if log.exists() else []

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.folder / name).stat().st_mode)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def delivery(authority: Authority, leaf: Leaf) -> Delivery:
    return Delivery("mc-1", leaf.certificate, (authority.certificate,), leaf.key)


def test_without_a_chain_file_the_chain_follows_the_leaf(bench: Bench, authority: Authority) -> None:
    leaf = authority.leaf("a.test")
    bench.target().deploy(delivery(authority, leaf))
    assert bench.text("cert.pem") == pem(leaf.certificate, authority.certificate)
    assert bench.text("key.pem") == leaf.key_pem()
    assert (bench.mode("cert.pem"), bench.mode("key.pem")) == (0o644, 0o600)


def test_a_chain_file_takes_the_chain(bench: Bench, authority: Authority) -> None:
    leaf = authority.leaf("a.test")
    bench.target(chain_path=f"{bench.folder}/chain.pem").deploy(delivery(authority, leaf))
    assert bench.text("cert.pem") == pem(leaf.certificate)
    assert bench.text("chain.pem") == pem(authority.certificate)


def test_without_a_key_path_no_key_is_written(bench: Bench, authority: Authority) -> None:
    bench.target(key_path="").deploy(delivery(authority, authority.leaf("a.test")))
    assert not (bench.folder / "key.pem").exists()


def test_modes_that_are_set_are_given(bench: Bench, authority: Authority) -> None:
    target = bench.target(cert_file_mode="0640", key_file_mode=0o644)
    target.deploy(delivery(authority, authority.leaf("a.test")))
    assert (bench.mode("cert.pem"), bench.mode("key.pem")) == (0o640, 0o640)


def test_the_new_files_are_checked_before_they_are_loaded(bench: Bench, authority: Authority) -> None:
    bench.target().deploy(delivery(authority, authority.leaf("a.test")))
    assert bench.runs("validate") == bench.runs("reload")
    assert len(bench.runs("reload")) == 1


def test_identical_files_are_neither_checked_nor_loaded_again(bench: Bench, authority: Authority) -> None:
    same = delivery(authority, authority.leaf("a.test"))
    bench.target().deploy(same)
    bench.target().deploy(same)
    assert len(bench.runs("validate")) == len(bench.runs("reload")) == 1


def test_a_refused_check_puts_the_files_back_and_loads_nothing(bench: Bench, authority: Authority) -> None:
    first = delivery(authority, authority.leaf("a.test"))
    bench.target().deploy(first)
    bench.fail("validate")
    with pytest.raises(DeploymentFailed, match="validate: status 1: validate says no"):
        bench.target().deploy(delivery(authority, authority.leaf("a.test")))
    assert bench.text("cert.pem") == pem(first.certificate, authority.certificate)
    assert len(bench.runs("reload")) == 1


def test_a_failed_reload_puts_the_files_back_and_loads_those(bench: Bench, authority: Authority) -> None:
    first = delivery(authority, authority.leaf("a.test"))
    bench.target().deploy(first)
    bench.fail("reload")
    with pytest.raises(DeploymentFailed, match=r"reload says no; and after the files were put back: .*reload says no"):
        bench.target().deploy(delivery(authority, authority.leaf("a.test")))
    original, refused, again = bench.runs("reload")
    assert original == again != refused
    assert bench.text("cert.pem") == pem(first.certificate, authority.certificate)


def test_a_first_deployment_that_fails_leaves_no_files(bench: Bench, authority: Authority) -> None:
    bench.fail("validate")
    with pytest.raises(DeploymentFailed):
        bench.target().deploy(delivery(authority, authority.leaf("a.test")))
    assert not (bench.folder / "cert.pem").exists()
    assert not (bench.folder / "key.pem").exists()


def test_commands_may_be_left_out(bench: Bench, authority: Authority) -> None:
    bench.target(validate_command="", reload_command="").deploy(delivery(authority, authority.leaf("a.test")))
    assert bench.runs("validate") == bench.runs("reload") == []
    assert (bench.folder / "cert.pem").exists()


def test_a_command_that_takes_too_long_is_a_failed_deployment(bench: Bench, authority: Authority) -> None:
    target = bench.target(validate_command="sleep 60", command_timeout=1)
    with pytest.raises(DeploymentFailed, match="sleep 60: no end after 1 s"):
        target.deploy(delivery(authority, authority.leaf("a.test")))


def test_reloading_alone_checks_first(bench: Bench, authority: Authority) -> None:
    bench.target().deploy(delivery(authority, authority.leaf("a.test")))
    bench.target().reload()
    assert len(bench.runs("reload")) == 2
    bench.fail("validate")
    with pytest.raises(DeploymentFailed, match="validate says no"):
        bench.target().reload()
    assert len(bench.runs("reload")) == 2


def test_the_catalog_fills_in_defaults_and_the_canonical_name() -> None:
    name, config = Catalog().check("nginx", {"cert_path": "/etc/nginx/tls/a.pem"})
    assert name == "NGINX"
    assert config["validate_command"] == "nginx -t"
    assert config["reload_command"] == "nginx -s reload"
    assert Catalog().check(name, config) == (name, config)
    assert Catalog().secret_keys("NGINX") == frozenset()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "cert_path"),
        ({"cert_path": "relative.pem"}, "cert_path"),
        ({"cert_path": "/a", "key_path": "/a"}, "key_path"),
        ({"cert_path": "/a", "reload_command": "nginx; rm -rf /"}, "reload_command"),
        ({"cert_path": "/a", "validate_command": "$(x)"}, "validate_command"),
        ({"cert_path": "/a", "verify_port": 0}, "verify_port"),
        ({"cert_path": "/a", "certpath": "/b"}, "certpath"),
        ({"cert_path": "/a", "key_file_mode": "rw"}, "key_file_mode"),
    ],
)
def test_the_catalog_names_what_is_wrong(config: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Catalog().check("NGINX", config)
    assert [problem.field for problem in caught.value.fields] == [field]


def test_a_type_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(Invalid, match=r"unsupported target type: Gopher.*There are: .*NGINX"):
        Catalog().check("Gopher", {})
    assert "NGINX" in known_types()


def test_an_agent_ignores_settings_that_are_newer_than_itself(tmp_path: Path) -> None:
    target = connect("NGINX", {"cert_path": "/a", "invented_later": True}, Host.with_journals(tmp_path))
    assert isinstance(target, NginxTarget)
    assert connector("nginx")[0] == "NGINX"


def test_a_connector_of_strangers_comes_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package beside ours, as an installer would leave it."""
    (tmp_path / "gopher_target.py").write_text(
        "from certctl_adapters.settings import setting, settings\n"
        "from certctl_core.ports.target import Delivery, Target\n"
        "@settings\n"
        "class GopherSettings:\n"
        "    hole: str = setting(help='Where it lives.')\n"
        "    password: str = setting(help='How to get in.', default='', secret=True)\n"
        "class GopherTarget(Target):\n"
        "    settings_class = GopherSettings\n"
        "    def __init__(self, settings, host):\n"
        "        self.hole = settings.hole\n"
        "    def deploy(self, delivery: Delivery) -> None:\n"
        "        self.delivered = delivery\n"
    )
    info = tmp_path / "gopher_target-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gopher-target\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[certctl.targets]\nGopher = gopher_target:GopherTarget\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Catalog().check("gopher", {"hole": "deep"}) == ("Gopher", {"hole": "deep", "password": ""})
    assert Catalog().secret_keys("Gopher") == {"password"}
    assert type(connect("Gopher", {"hole": "deep"}, Host.with_journals(tmp_path))).__name__ == "GopherTarget"
    assert set(known_types()) >= {"Gopher", "NGINX"}
