"""The contract of `Target`, run on every connector and on the fake that other tests use."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define, frozen

from certctl_adapters.host import Host
from certctl_adapters.targets.nginx import NginxSettings, NginxTarget
from certctl_core.errors import DeploymentFailed
from certctl_core.ports.target import Delivery, Target
from tests.authority import Authority, Leaf, fingerprint
from tests.interop.peers import peer
from tests.web_servers import NGINX, WebServer, nginx, own_server


@define
class MemoryTarget(Target):
    """A target that holds its certificate in memory, and refuses when it is told to."""

    in_use: str = ""
    refusal: str = ""

    def deploy(self, delivery: Delivery) -> None:
        if self.refusal:
            raise DeploymentFailed(self.refusal)
        self.in_use = fingerprint(delivery.certificate)


@frozen
class Rig:
    """A target with something behind it: what is in use, and how to make it refuse and to mend it."""

    target: Target
    uses: Callable[[str], bool]
    spoil: Callable[[], None]
    mend: Callable[[], None]
    words: str


def memory_rig() -> Rig:
    target = MemoryTarget()
    return Rig(
        target,
        uses=lambda expected: target.in_use == expected,
        spoil=lambda: setattr(target, "refusal", "no room"),
        mend=lambda: setattr(target, "refusal", ""),
        words="no room",
    )


def nginx_rig(folder: Path, server: WebServer) -> Rig:
    """Spoiling makes the validator fail, by a file that only the rig knows."""
    validator = folder / "validate"
    validator.write_text(f'#!/bin/sh\n[ -e {folder}/spoilt ] && {{ echo unknown directive; exit 1; }}\nexec "$@"\n')
    validator.chmod(0o700)
    settings = NginxSettings(
        cert_path=str(server.certificate),
        key_path=str(server.key),
        validate_command=f"{validator} {server.validate_command}",
        reload_command=server.reload_command,
    )
    return Rig(
        NginxTarget(settings, Host.with_journals(folder / "journal")),
        uses=server.soon_serves,
        spoil=(folder / "spoilt").touch,
        mend=(folder / "spoilt").unlink,
        words="unknown directive",
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(params=["memory", "NGINX with nginx", "NGINX with a server of our own"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Rig]:
    if request.param == "memory":
        yield memory_rig()
        return
    if NGINX is None and request.param == "NGINX with nginx":
        peer("nginx")
    files = authority.leaf("placeholder.test").write(tmp_path)
    with ExitStack() as stack:
        start = nginx if request.param == "NGINX with nginx" else own_server
        yield nginx_rig(tmp_path, stack.enter_context(start(tmp_path, *files)))


def delivery(leaf: Leaf, *chain: Leaf) -> Delivery:
    return Delivery("mc-1", leaf.certificate, tuple(one.certificate for one in chain), leaf.key)


class TestTarget:
    def test_what_is_deployed_is_in_use(self, rig: Rig, authority: Authority) -> None:
        leaf = authority.leaf("www.example.test")
        rig.target.deploy(delivery(leaf))
        assert rig.uses(fingerprint(leaf.certificate))

    def test_a_successor_replaces_it(self, rig: Rig, authority: Authority) -> None:
        for leaf in (authority.leaf("www.example.test"), authority.leaf("www.example.test")):
            rig.target.deploy(delivery(leaf))
            assert rig.uses(fingerprint(leaf.certificate))

    def test_deploying_again_changes_nothing(self, rig: Rig, authority: Authority) -> None:
        leaf = authority.leaf("www.example.test")
        rig.target.deploy(delivery(leaf))
        rig.target.deploy(delivery(leaf))
        assert rig.uses(fingerprint(leaf.certificate))

    def test_a_refusal_says_why_and_leaves_everything_as_it_was(self, rig: Rig, authority: Authority) -> None:
        first, second = authority.leaf("www.example.test"), authority.leaf("www.example.test")
        rig.target.deploy(delivery(first))
        assert rig.uses(fingerprint(first.certificate))
        rig.spoil()
        with pytest.raises(DeploymentFailed, match=rig.words):
            rig.target.deploy(delivery(second))
        assert rig.uses(fingerprint(first.certificate))

    def test_once_the_cause_is_mended_it_succeeds(self, rig: Rig, authority: Authority) -> None:
        leaf = authority.leaf("www.example.test")
        rig.spoil()
        with pytest.raises(DeploymentFailed, match=rig.words):
            rig.target.deploy(delivery(leaf))
        rig.mend()
        rig.target.deploy(delivery(leaf))
        assert rig.uses(fingerprint(leaf.certificate))
