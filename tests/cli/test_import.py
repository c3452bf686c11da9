"""Certificates in files, brought under management."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from certctl_cli.commands import imports
from tests.cli.conftest import Certctl
from tests.serving import Plane
from tests.strangers import authority, certificate, dns, fleet, key, pem

WHOSE = ("--owner-id", "o-1", "--team-id", "t-1", "--issuer-id", "iss-local", "--renewal-policy-id", "rp-default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A chain, a certificate in DER, a PKCS #12 file, one with a key beside it, one that is damaged, and a picture."""
    folder = tmp_path / "found"
    (folder / "deep").mkdir(parents=True)
    (folder / "chain.pem").write_text(pem(certificate("a.example.org", dns("a.example.org")), authority()))
    site = certificate("b.example.org", dns("b.example.org"))
    (folder / "deep" / "b.der").write_bytes(site.public_bytes(Encoding.DER))
    site = certificate("c.example.org", dns("c.example.org"))
    sealed = pkcs12.serialize_key_and_certificates(b"c", key(), site, None, BestAvailableEncryption(b"sesame"))
    (folder / "c.p12").write_bytes(sealed)
    secret = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    site = certificate("d.example.org", dns("d.example.org"))
    (folder / "combined.pem").write_text(secret + pem(site))
    (folder / "torn.crt").write_text(pem(site)[:200])
    (folder / "picture.png").write_bytes(b"not looked at")
    (tmp_path / "password").write_text("sesame\n")
    return folder


def told(out: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(out)
    return found


def test_a_folder_is_imported_once(plane: Plane, certctl: Certctl, folder: Path, tmp_path: Path) -> None:
    words = ("import", str(folder), *WHOSE, "--password-file", str(tmp_path / "password"), "--tags", "wave=1")
    said = certctl(*words, "--format", "json")
    assert said.status == 1, said.err
    first = told(said.out)
    names = ["a.example.org", "b.example.org", "c.example.org", "d.example.org"]
    assert sorted(row["name"] for row in first["imported"]) == names
    assert [Path(row["source"]).name for row in first["failed"]] == ["torn.crt"]
    ids = {row["name"]: row["id"] for row in first["imported"]}
    shown = plane.api.get(f"/api/v1/certificates/{ids['b.example.org']}").json
    assert shown["tags"] == {"wave": "1", "imported_from": str(folder / "deep" / "b.der")}
    again = told(certctl(*words, "--format", "json").out)
    assert again["imported"] == []
    assert len(again["skipped"]) == 4


def test_no_private_key_leaves_the_machine(folder: Path, tmp_path: Path) -> None:
    entries, _ = imports.read([str(folder)], "sesame")
    assert len(entries) == 4
    assert all("PRIVATE" not in entry.pem for entry in entries)


def test_a_wrong_password_concerns_its_file_only(certctl: Certctl, folder: Path) -> None:
    said = certctl("import", str(folder), *WHOSE)
    assert said.status == 1
    assert "Imported\t3" in said.lines
    assert any("c.p12" in line and "password" in line for line in said.lines)


def test_looking_imports_nothing(plane: Plane, certctl: Certctl, folder: Path) -> None:
    said = certctl("import", str(folder / "chain.pem"), *WHOSE, "--dry-run")
    assert said.status == 0, said.err
    assert [str(folder / "chain.pem"), "CN=a.example.org"] in said.cells
    assert plane.api.get("/api/v1/certificates").json["total"] == 0


def test_a_bundle_of_strangers_is_as_many_certificates(tmp_path: Path) -> None:
    names = ["a.example.org", "b.example.org"]
    (tmp_path / "all.pem").write_text("".join(pem(certificate(one, dns(one)), authority()) for one in names))
    entries, _ = imports.read([str(tmp_path / "all.pem")])
    assert [entry.pem.count("BEGIN CERTIFICATE") for entry in entries] == [2, 2]


def test_a_bundle_may_be_as_long_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "all.pem").write_text("".join(fleet(501)))
    entries, unread = imports.read([str(tmp_path / "all.pem")])
    assert (len(entries), unread) == (501, [])


def test_more_than_a_request_holds_is_sent_in_several(
    monkeypatch: pytest.MonkeyPatch, certctl: Certctl, tmp_path: Path
) -> None:
    monkeypatch.setattr(imports, "_AT_ONCE", 2)
    names = [f"site-{n}.example.org" for n in range(5)]
    (tmp_path / "all.pem").write_text("".join(pem(certificate(one, dns(one))) for one in names))
    said = certctl("import", str(tmp_path / "all.pem"), *WHOSE)
    assert said.status == 0, said.err
    assert "Imported\t5" in said.lines


def test_a_name_that_leads_nowhere_is_said_before_anything_is_sent(certctl: Certctl, tmp_path: Path) -> None:
    said = certctl("import", str(tmp_path / "no.pem"), *WHOSE)
    assert said.status == 2
    assert "there is no file" in said.err


def test_whose_they_are_to_be_must_be_said(certctl: Certctl, folder: Path) -> None:
    said = certctl("import", str(folder))
    assert said.status == 2
    assert "--owner-id" in said.err
