"""What is said when there is no control plane, or one that is not to be believed."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certctl_adapters.control_plane import Unreachable
from certctl_cli.client import Server
from certctl_cli.settings import Settings
from certctl_core import __version__
from tests.authority import Authority
from tests.cli.conftest import Certctl
from tests.serving import Plane, serving
from tests.web_servers import free_port


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Some other web site."""
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<h1>It works</h1>"]


def test_a_server_that_is_down_is_status_3_and_named(anywhere: Certctl) -> None:
    url = f"https://localhost:{free_port()}"
    said = anywhere("--server", url, "certs", "list")
    assert (said.status, said.out) == (3, "")
    assert f"Connection refused\nIs a control plane running at {url}?" in said.err


def test_a_name_that_does_not_exist_is_status_3(anywhere: Certctl) -> None:
    said = anywhere("--server", "https://no-such-host.invalid:8443", "certs", "list")
    assert said.status == 3
    assert "no-such-host.invalid" in said.err


def test_a_certificate_nobody_vouches_for_is_status_3_and_says_how_to_trust_it(
    plane: Plane, certctl: Certctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CERTCTL_SERVER_CA_BUNDLE_PATH")
    said = certctl("certs", "list")
    assert (said.status, said.out) == (3, "")
    assert "its certificate is not to be believed" in said.err
    assert "--ca-bundle FILE" in said.err
    trusting = certctl("--ca-bundle", str(plane.ca_bundle), "certs", "list")
    assert trusting.status == 0


def test_a_certificate_for_another_name_is_status_3_and_says_so(
    anywhere: Certctl, plane: Plane, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with serving(page, folder, plane.authority.leaf("certctl.example.com")) as port:
        server = f"https://localhost:{port}"
        said = anywhere("--server", server, "--ca-bundle", str(plane.ca_bundle), "certs", "list")
    assert said.status == 3
    assert "by a name that is in its certificate" in said.err
    assert "which says localhost" in said.err


def test_tls_below_1_3_is_not_spoken(anywhere: Certctl, plane: Plane, tmp_path: Path) -> None:
    folder, old = tmp_path / "other", ssl.TLSVersion.TLSv1_2
    folder.mkdir()
    with serving(page, folder, plane.authority.leaf("localhost"), maximum=old) as port:
        server = f"https://localhost:{port}"
        said = anywhere("--server", server, "--ca-bundle", str(plane.ca_bundle), "certs", "list")
    assert said.status == 3
    assert "TLS 1.3" in said.err


def test_some_other_web_site_is_no_control_plane(anywhere: Certctl, plane: Plane, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with serving(page, folder, plane.authority.leaf("localhost")) as port:
        server = f"https://localhost:{port}"
        said = anywhere("--server", server, "--ca-bundle", str(plane.ca_bundle), "certs", "list")
    assert said.status == 3
    assert "the answer is not JSON" in said.err


@contextmanager
def silent() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        try:
            while True:
                taken.append(listener.accept()[0])
        except OSError:
            return

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for one in taken:
            one.close()


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with silent() as port:
        server = Server(Settings(server_url=f"https://127.0.0.1:{port}", timeout=timedelta(seconds=0.3)))
        with pytest.raises(Unreachable, match="no answer in time"):
            server.get("/jobs")
        server.close()


def test_a_slow_answer_is_given_up_in_time(plane: Plane, tmp_path: Path) -> None:
    answering = threading.Event()
    folder = tmp_path / "slow"
    folder.mkdir()

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        answering.wait(20)
        return page(environ, start_response)

    with serving(slow, folder, plane.authority.leaf("localhost")) as port:
        given = Settings(
            server_url=f"https://localhost:{port}", ca_bundle=plane.ca_bundle, timeout=timedelta(seconds=0.5)
        )
        server = Server(given)
        with pytest.raises(Unreachable, match="no answer in time"):
            server.get("/jobs")
        server.close()
        answering.set()


def test_a_server_without_its_database_is_shown_as_it_is_with_status_1(
    anywhere: Certctl, plane: Plane, tmp_path: Path
) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("503 Service Unavailable", [("Content-Type", "application/json")])
        return [b'{"status":"db_unavailable","error":"no connection in 5 s"}']

    folder = tmp_path / "broken"
    folder.mkdir()
    with serving(broken, folder, Authority("Other").leaf("localhost")) as port:
        bundle = folder / "cert.pem"
        said = anywhere("--server", f"https://localhost:{port}", "--ca-bundle", str(bundle), "status")
    assert said.status == 3  # a leaf vouches for nobody
    folder = tmp_path / "trusted"
    folder.mkdir()
    with serving(broken, folder, plane.authority.leaf("localhost")) as port:
        said = anywhere("--server", f"https://localhost:{port}", "--ca-bundle", str(plane.ca_bundle), "status")
    assert said.status == 1
    assert said.cells[1:] == [["Status", "db_unavailable"], ["Error", "no connection in 5 s"]]


# Settings that lead nowhere


@pytest.mark.parametrize("url", ["http://localhost:8443", "localhost:8443", "https://", "https://a@b", "ftp://x"])
def test_a_url_that_is_not_https_is_status_2(anywhere: Certctl, url: str) -> None:
    said = anywhere("--server", url, "certs", "list")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"certctl: {url!r} is not")


def test_a_ca_bundle_that_is_none_is_status_2(anywhere: Certctl, tmp_path: Path) -> None:
    missing = anywhere("--ca-bundle", str(tmp_path / "none.pem"), "certs", "list")
    assert missing.status == 2
    assert "cannot read the CA bundle" in missing.err
    (tmp_path / "empty.pem").touch()
    empty = anywhere("--ca-bundle", str(tmp_path / "empty.pem"), "certs", "list")
    assert empty.status == 2
    assert "the CA bundle holds no certificate" in empty.err


def test_a_key_that_would_break_the_request_is_status_2_and_not_repeated(anywhere: Certctl) -> None:
    said = anywhere("--api-key", "cck_a\nX-Admin: yes", "certs", "list")
    assert said.status == 2
    assert "X-Admin" not in said.err


def test_the_version_asks_nobody(anywhere: Certctl) -> None:
    said = anywhere("--server", "nowhere", "version")
    assert (said.status, said.out) == (0, f"certctl {__version__}\n")


def test_flags_win_over_variables(certctl: Certctl) -> None:
    url = f"https://localhost:{free_port()}"
    said = certctl("--server", url, "certs", "list")
    assert said.status == 3
    assert url in said.err
