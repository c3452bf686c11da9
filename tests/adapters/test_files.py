"""File sets: all or none, whatever happens, a kill included."""

import os
import signal
import stat
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from certctl_adapters.files import FileInstaller, NewFile
from certctl_core.errors import DeploymentFailed
from certctl_core.ports.world import Tripwire


class Counting(Tripwire):
    """Remembers the points it was told."""

    def __init__(self) -> None:
        self.points: list[str] = []

    def __call__(self, point: str) -> None:
        self.points.append(point)


class KillingAt(Tripwire):
    """Kills this process at one point."""

    def __init__(self, point: str) -> None:
        self._point = point

    def __call__(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(do: Callable[[], object]) -> bool:
    """Run `do` in a process of its own. Whether that process was killed."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child here runs nothing that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            do()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing may escape into the parent's test run
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the installation failed before the point was reached"
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    made.mkdir()
    return made


@pytest.fixture
def installer(tmp_path: Path) -> FileInstaller:
    return FileInstaller(tmp_path / "journal")


def put(installer: FileInstaller, *files: NewFile) -> bool:
    with installer.install(files) as installed:
        return installed.changed


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pair(folder: Path, word: str) -> tuple[NewFile, NewFile]:
    return (
        NewFile(folder / "cert.pem", f"certificate {word}".encode()),
        NewFile(folder / "key.pem", f"key {word}".encode(), mode_if_new=0o600, secret=True),
    )


def both(word: str) -> dict[str, bytes]:
    return {"cert.pem": f"certificate {word}".encode(), "key.pem": f"key {word}".encode()}


def test_files_that_are_not_there_are_made_with_their_mode(installer: FileInstaller, folder: Path) -> None:
    assert put(installer, *pair(folder, "new"))
    assert contents(folder) == both("new")
    assert (mode(folder / "cert.pem"), mode(folder / "key.pem")) == (0o644, 0o600)


def test_identical_files_are_left_alone(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "same"))
    inode = (folder / "key.pem").stat().st_ino
    assert not put(installer, *pair(folder, "same"))
    assert (folder / "key.pem").stat().st_ino == inode


def test_a_wrong_mode_alone_is_put_right(installer: FileInstaller, folder: Path) -> None:
    put(installer, NewFile(folder / "a", b"x"))
    assert put(installer, NewFile(folder / "a", b"x", mode=0o640))
    assert mode(folder / "a") == 0o640


def test_what_is_replaced_passes_on_its_mode(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))
    (folder / "cert.pem").chmod(0o664)
    put(installer, *pair(folder, "new"))
    assert mode(folder / "cert.pem") == 0o664


def test_a_secret_never_stays_readable_by_others(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))
    (folder / "key.pem").chmod(0o644)
    put(installer, *pair(folder, "new"))
    assert mode(folder / "key.pem") == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_what_is_replaced_passes_on_its_owner_and_group(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))
    os.chown(folder / "key.pem", 65534, 65533)
    put(installer, *pair(folder, "new"))
    found = (folder / "key.pem").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65533)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_an_owner_that_is_named_wins(installer: FileInstaller, folder: Path) -> None:
    put(installer, NewFile(folder / "a", b"x", owner="nobody", group="65533"))
    found = (folder / "a").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65533)


def test_an_owner_that_does_not_exist_is_named(installer: FileInstaller, folder: Path) -> None:
    with pytest.raises(DeploymentFailed, match="no user or group 'nobody-like-this'"):
        put(installer, NewFile(folder / "a", b"x", owner="nobody-like-this"))
    assert contents(folder) == {}


def test_an_exception_puts_the_very_same_files_back(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    seen: list[dict[str, bytes]] = []

    def validator() -> None:
        seen.append(contents(folder))
        raise RuntimeError("validator")

    with pytest.raises(RuntimeError, match="validator"), installer.install(pair(folder, "new")):
        validator()
    assert seen[0].items() >= both("new").items()
    assert contents(folder) == both("old")
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before


def test_an_exception_takes_away_files_that_were_not_there(installer: FileInstaller, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), installer.install(pair(folder, "new")):
        raise KeyboardInterrupt
    assert contents(folder) == {}


def test_a_file_that_somebody_else_replaced_meanwhile_is_theirs(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))

    def meddle() -> None:
        (folder / "cert.pem").unlink()
        (folder / "cert.pem").write_bytes(b"theirs")
        raise RuntimeError("meanwhile")

    with pytest.raises(RuntimeError, match="meanwhile"), installer.install(pair(folder, "new")):
        meddle()
    assert contents(folder) == both("old") | {"cert.pem": b"theirs"}


def test_one_file_that_cannot_be_written_keeps_all_from_changing(installer: FileInstaller, folder: Path) -> None:
    put(installer, *pair(folder, "old"))
    missing = NewFile(folder / "nowhere" / "chain.pem", b"chain")
    with pytest.raises(DeploymentFailed, match=r"nowhere/chain\.pem: the folder .*nowhere does not exist"):
        put(installer, *pair(folder, "new"), missing)
    assert contents(folder) == both("old")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(installer: FileInstaller, folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(DeploymentFailed, match="no permission"):
        put(installer, *pair(folder, "new"))
    folder.chmod(0o700)
    assert contents(folder) == {}


def test_a_symbolic_link_is_not_followed(installer: FileInstaller, folder: Path) -> None:
    (folder / "cert.pem").symlink_to(folder / "elsewhere")
    with pytest.raises(DeploymentFailed, match="symbolic link"):
        put(installer, NewFile(folder / "cert.pem", b"x"))
    assert not (folder / "elsewhere").exists()


def test_a_folder_behind_a_link_is_the_folder(installer: FileInstaller, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert put(installer, NewFile(tmp_path / "link" / "a", b"x"))
    assert contents(folder) == {"a": b"x"}


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_regular_file_is_not_replaced(installer: FileInstaller, folder: Path, kind: str) -> None:
    path = folder / "odd"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(DeploymentFailed, match="not a regular file"):
        put(installer, NewFile(path, b"x"))


def test_two_contents_for_one_file_are_refused(installer: FileInstaller, folder: Path) -> None:
    with pytest.raises(DeploymentFailed, match="named twice"):
        put(installer, NewFile(folder / "a", b"x"), NewFile(folder / ".." / folder.name / "a", b"y"))


def test_a_relative_path_is_refused(installer: FileInstaller) -> None:
    with pytest.raises(DeploymentFailed, match="not an absolute path"):
        put(installer, NewFile(Path("cert.pem"), b"x"))


def test_a_very_long_name_fits(installer: FileInstaller, folder: Path) -> None:
    put(installer, NewFile(folder / ("ä" * 127), b"old"))
    assert put(installer, NewFile(folder / ("ä" * 127), b"x"))
    assert contents(folder) == {"ä" * 127: b"x"}


def test_nothing_is_left_beside_the_files(installer: FileInstaller, folder: Path, tmp_path: Path) -> None:
    put(installer, *pair(folder, "old"))
    put(installer, *pair(folder, "new"))
    assert contents(folder) == both("new")
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["lock"]


def test_a_journal_that_cannot_be_read_is_named_and_stops_everything(
    installer: FileInstaller, folder: Path, tmp_path: Path
) -> None:
    put(installer, *pair(folder, "old"))
    (tmp_path / "journal" / "0.json").write_text("{}")
    with pytest.raises(DeploymentFailed, match=r"0\.json cannot be read"):
        put(installer, *pair(folder, "new"))
    assert contents(folder) == both("old")


def points_of(tmp_path: Path, folder: Path, before: Sequence[NewFile], after: Sequence[NewFile]) -> list[str]:
    """The points an installation passes, tried out in folders of its own."""
    counting = Counting()
    if before:
        put(FileInstaller(tmp_path / "trial"), *before)
    put(FileInstaller(tmp_path / "trial", counting), *after)
    for path in folder.iterdir():
        path.unlink()
    return counting.points


@pytest.mark.parametrize("existed", [True, False], ids=["replacing", "new"])
def test_a_kill_at_any_point_leaves_old_or_new_and_never_a_mixture(
    tmp_path: Path, folder: Path, *, existed: bool
) -> None:
    old = both("old") if existed else {}
    before = pair(folder, "old") if existed else ()
    points = points_of(tmp_path, folder, before, pair(folder, "new"))
    assert len(points) > 8
    outcomes = []
    for point in points:
        journal = tmp_path / f"journal-{point}"
        if existed:
            put(FileInstaller(journal), *before)
        assert killed(partial(put, FileInstaller(journal, KillingAt(point)), *pair(folder, "new"))), point
        FileInstaller(journal).recover()
        assert contents(folder) in (old, both("new")), point
        outcomes.append(contents(folder) == both("new"))
        for path in folder.iterdir():
            path.unlink()
    # There is one moment at which the new set becomes the set: never forth and back.
    assert outcomes == sorted(outcomes)
    assert True in outcomes
    assert False in outcomes


def test_a_kill_during_recovery_is_recovered_from(tmp_path: Path, folder: Path) -> None:
    points = points_of(tmp_path, folder, pair(folder, "old"), pair(folder, "new"))
    for point in points:
        for later in range(1, 6):
            journal = tmp_path / f"journal-{point}-{later}"
            put(FileInstaller(journal), *pair(folder, "old"))
            assert killed(partial(put, FileInstaller(journal, KillingAt(point)), *pair(folder, "new")))
            killed(FileInstaller(journal, KillingAt(f"install:{later}")).recover)
            FileInstaller(journal).recover()
            assert contents(folder) in (both("old"), both("new")), (point, later)


def test_the_next_installation_recovers_first(tmp_path: Path, folder: Path) -> None:
    journal = tmp_path / "journal"
    put(FileInstaller(journal), *pair(folder, "old"))
    assert killed(lambda: put(FileInstaller(journal, KillingAt("install:7")), *pair(folder, "new")))
    assert put(FileInstaller(journal), NewFile(folder / "other", b"x"))
    assert contents(folder) == both("old") | {"other": b"x"}


def test_recovery_says_what_it_put_back(tmp_path: Path, folder: Path) -> None:
    journal = tmp_path / "journal"
    put(FileInstaller(journal), *pair(folder, "old"))
    assert killed(lambda: put(FileInstaller(journal, KillingAt("install:9")), *pair(folder, "new")))
    assert FileInstaller(journal).recover() == (folder / "cert.pem", folder / "key.pem")
    assert FileInstaller(journal).recover() == ()


def test_a_key_is_private_at_every_moment_of_its_way(tmp_path: Path, folder: Path) -> None:
    seen: list[int] = []

    class Watching(Tripwire):
        def __call__(self, point: str) -> None:
            seen.extend(mode(path) for path in folder.iterdir() if "key" in path.name)

    put(FileInstaller(tmp_path / "journal", Watching()), *pair(folder, "new"))
    assert set(seen) == {0o600}
