"""The main job as a newcomer runs it: as this user and as an ordinary one, with nginx on the PATH and without."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 20
"""More than the demo grants itself: how busy the machine is that runs the tests says nothing about the program."""

DEMO = ROOT / "deploy" / "demo"

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path that other accounts can reach, which a pytest folder of root is not."""
    folder = Path(tempfile.mkdtemp(prefix="certctl-e2e-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_demo(home: Path, *, path: str | None = None, user: str | None = None) -> str:
    """What the demo printed; fails unless every step held and nothing was left running."""
    environment = {**os.environ, "PATH": path or os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, str(DEMO), "--check", "--data", str(home / "data"), "--ready-within", str(READY_WITHIN)],
        env=environment,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def path_without(program: str, home: Path) -> str:
    """The present PATH with everything on it but one program."""
    shadow = home / "bin"
    shadow.mkdir(mode=0o755)
    for folder in os.environ["PATH"].split(os.pathsep):
        for entry in Path(folder).glob("*"):
            if entry.name != program and not (shadow / entry.name).exists():
                (shadow / entry.name).symlink_to(entry)
    return str(shadow)


def test_every_step_holds_with_what_is_on_this_machine(home: Path) -> None:
    told = run_demo(home)
    assert "each issued once" in told
    assert ("nginx on port" in told) == bool(shutil.which("nginx"))


def test_every_step_holds_without_nginx(home: Path) -> None:
    told = run_demo(home, path=path_without("nginx", home))
    assert "the demo's TLS server on port" in told
    assert "each issued once" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="this is an ordinary user already")
def test_every_step_holds_for_an_ordinary_user(home: Path) -> None:
    if not os.access(sys.executable, os.X_OK) or _hidden_from_others(Path(sys.executable)):
        pytest.skip("the Python of this environment is readable by root only")
    assert "each issued once" in run_demo(home, user="nobody")


def _hidden_from_others(path: Path) -> bool:
    """Whether some folder above the program keeps other accounts out."""
    real = [path, path.resolve()]
    return any(not folder.stat().st_mode & 0o001 for one in real for folder in one.parents)
