"""Taking the audit trail away and judging it: over HTTPS, and without any server."""

import io
import json
import sys
from pathlib import Path

import pytest

from certctl_cli import __main__ as program
from certctl_core.models.access import Role
from certctl_core.usecases import sealing
from tests.cli.conftest import Certctl, Said
from tests.serving import Plane


@pytest.fixture
def file(plane: Plane, certctl: Certctl, tmp_path: Path) -> Path:
    """An export of five events, of which the last is not sealed, and a checkpoint of four, kept."""
    plane.api.certificate(name="shop")
    sealing.seal(plane.api.ports)
    (tmp_path / "kept").write_text(certctl("audit", "checkpoint").out)
    plane.api.certificate(name="wiki")
    exported = tmp_path / "trail.jsonl"
    said = certctl("audit", "export", "--output", str(exported))
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"{exported}: {exported.stat().st_size:,} bytes in ")
    return exported


def shown(said: Said) -> dict[str, str]:
    return {line[0]: line[1] for line in said.cells}


def key_of(plane: Plane) -> str:
    return str(sealing.ensure_signer(plane.api.ports)[0])


def test_an_export_is_verified_without_a_server(file: Path, anywhere: Certctl) -> None:
    said = anywhere("audit", "verify", str(file), "--checkpoint", str(file.parent / "kept"))
    assert said.status == 0, said.err
    read = shown(said)
    assert read["Verdict"] == "verified"
    assert (read["Export"], read["Sealed Events"], read["Not Sealed Yet"]) == ("the whole trail", "4", "1")
    assert (read["Checkpoints"], read["Kept Checkpoints"]) == ("1", "1")
    assert read["Last Checkpoint"] == "4 events, 2031-03-04T05:06:07Z"
    assert said.err == "Events that are not sealed yet are told by the file alone.\n"


def test_whoever_brings_nothing_is_told_how_little_that_shows(file: Path, anywhere: Certctl) -> None:
    said = anywhere("audit", "verify", str(file))
    assert said.status == 0
    assert "agrees with itself" in said.err


def test_the_key_can_be_brought_as_text_or_as_a_file(file: Path, plane: Plane, anywhere: Certctl) -> None:
    verifier = sealing.ensure_signer(plane.api.ports)[0]
    (file.parent / "key").write_text(f"{verifier}\n")
    (file.parent / "key.pem").write_text(verifier.pem)
    for key in (str(verifier), str(file.parent / "key"), str(file.parent / "key.pem")):
        said = anywhere("audit", "verify", str(file), "--public-key", key)
        assert said.status == 0, said.err
        assert "agrees with itself" not in said.err
    assert anywhere("audit", "verify", str(file), "--public-key", "nonsense").status == 1


def test_a_checkpoint_can_be_kept_as_the_api_tells_it(file: Path, plane: Plane, certctl: Certctl) -> None:
    for name, path in (("latest", "/api/v1/audit/checkpoints/latest"), ("one", "/api/v1/audit/checkpoints")):
        told = plane.api.get(path).json
        kept = file.parent / name
        kept.write_text(json.dumps(told if name == "latest" else told["data"][0]))
        said = certctl("audit", "verify", str(file), "--checkpoint", str(kept))
        assert shown(said)["Kept Checkpoints"] == "1"
    (file.parent / "none").write_text("{}")
    assert certctl("audit", "verify", str(file), "--checkpoint", str(file.parent / "none")).status == 2


def test_the_first_event_that_was_changed_is_named_and_the_status_is_1(file: Path, anywhere: Certctl) -> None:
    file.write_text(file.read_text().replace('"resource_id":"iss-local"', '"resource_id":"iss-other"'))
    said = anywhere("audit", "verify", str(file))
    assert said.status == 1
    assert shown(said)["Verdict"] == "NOT VERIFIED"
    assert shown(said)["First Flaw"].startswith("line 4: event audit-")
    told = json.loads(anywhere("--format", "json", "audit", "verify", str(file)).out)
    assert (told["ok"], told["flaw"]["line"]) == (False, 4)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"{}\n", b"x" * 3_000_000, b"[" * 100_000])
def test_what_is_no_export_is_told(anywhere: Certctl, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    said = anywhere("audit", "verify", str(tmp_path / "file"))
    assert said.status == 1
    assert shown(said)["Verdict"] == "NOT VERIFIED"


def test_a_file_that_is_not_there_is_told(anywhere: Certctl, tmp_path: Path) -> None:
    for words in (["verify", str(tmp_path / "no")], ["verify", str(tmp_path / "no"), "--checkpoint", "no"]):
        said = anywhere("audit", *words)
        assert said.status == 2
        assert "cannot read" in said.err


def test_a_part_is_narrowed_by_the_server_and_verified(file: Path, plane: Plane, certctl: Certctl) -> None:
    part = file.with_name("part.jsonl")
    words = ["--resource-type", "certificate", "--actor-type", "User", "--since", "2031-03-04T05:06:07Z"]
    assert certctl("audit", "export", "--output", str(part), *words).status == 0
    said = certctl("audit", "verify", str(part), "--public-key", key_of(plane))
    read = shown(said)
    assert (read["Verdict"], read["Export"], read["Sealed Events"]) == ("verified", "a part of the trail", "1")
    assert "left out" in said.err


def test_a_table_can_be_exported(certctl: Certctl, file: Path) -> None:
    table = file.with_name("trail.csv")
    assert certctl("audit", "export", "--format", "csv", "--output", str(table)).status == 0
    assert len(table.read_text().splitlines()) == 6
    told = certctl("--format", "json", "audit", "export", "--format", "csv", "--output", str(table), "--force")
    assert json.loads(told.out)["bytes"] == table.stat().st_size


def test_a_file_is_replaced_only_when_asked(file: Path, certctl: Certctl) -> None:
    before = file.read_bytes()
    said = certctl("audit", "export", "--output", str(file))
    assert (said.status, file.read_bytes()) == (2, before)
    assert "--force" in said.err
    assert certctl("audit", "export", "--output", str(file), "--force").status == 0


def test_an_export_that_fails_leaves_no_file(certctl: Certctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    target = str(inside / "trail.jsonl")
    assert certctl("audit", "export", "--output", target, "--since", "yesterday").status == 1
    monkeypatch.setenv("CERTCTL_SERVER_URL", "https://localhost:9")
    assert certctl("audit", "export", "--output", target).status == 3
    assert certctl("audit", "export", "--output", str(tmp_path / "no" / "such")).status == 2
    assert list(inside.iterdir()) == []


def test_a_key_that_may_not_is_told_so(
    certctl: Certctl, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTCTL_API_KEY", plane.environment(Role.VIEWER)["CERTCTL_API_KEY"])
    said = certctl("audit", "export", "--output", str(tmp_path / "trail"))
    assert said.status == 4
    assert "viewer" in said.err


def test_standard_output_has_the_export_and_nothing_else(
    file: Path, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in plane.environment().items():
        monkeypatch.setenv(name, value)
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    assert program.main(["--format", "json", "audit", "export", "--output", "-"]) == 0
    out.flush()
    written = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert written.partition("\n")[2] == file.read_text().partition("\n")[2]


def test_before_the_first_checkpoint_there_is_none_to_keep(certctl: Certctl) -> None:
    said = certctl("audit", "checkpoint")
    assert (said.status, said.out) == (1, "There is no checkpoint yet.\n")
