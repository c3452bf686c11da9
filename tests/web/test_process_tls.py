"""The server's own certificate: made, kept, made anew, and followed by the listener."""

import contextlib
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from certctl_core.errors import NotConfigured
from certctl_core.pki import bundle, ca, keys, names, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_web import tls
from certctl_web.settings import Web
from certctl_web.tls import Clients, Pair, ServerContext

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = tls.server_names(Web())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return ca.create_root("Test control plane", KeyKind.ECDSA_P256, NOW - timedelta(days=1), timedelta(days=3650))


def _leaf(data_dir: Path) -> x509.Certificate:
    pem = tls.own_pair(data_dir).certificate.read_bytes()
    return reading.certificates(pem[pem.index(b"-----BEGIN CERTIFICATE") :])[0]


def test_a_certificate_is_made_once_and_its_key_is_private(tmp_path: Path, authority: Authority) -> None:
    assert tls.ensure(tmp_path, authority, NAMES, NOW)
    assert not tls.ensure(tmp_path, authority, NAMES, NOW)
    file = tls.own_pair(tmp_path).certificate
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in file.parent.iterdir()) == [".lock", "ca.pem", "server.pem"]


def test_it_carries_every_name_the_server_is_reached_by() -> None:
    found = {
        names.text_of(name) for name in tls.server_names(Web(host="192.0.2.7", public_url="https://Certctl.Example/x"))
    }
    assert {"localhost", "127.0.0.1", "::1", "192.0.2.7", "certctl.example"} <= found
    assert "0.0.0.0" not in {names.text_of(n) for n in tls.server_names(Web(host="0.0.0.0"))}  # noqa: S104


def test_it_is_made_anew_before_it_ends(tmp_path: Path, authority: Authority) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    assert not tls.ensure(tmp_path, authority, NAMES, NOW + timedelta(days=59))
    assert tls.ensure(tmp_path, authority, NAMES, NOW + timedelta(days=61))
    assert _leaf(tmp_path).not_valid_after_utc > NOW + timedelta(days=140)


def test_it_is_made_anew_for_another_name_and_for_another_ca(tmp_path: Path, authority: Authority) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    more = tls.server_names(Web(public_url="https://certctl.example"))
    assert tls.ensure(tmp_path, authority, more, NOW)
    other = ca.create_root("Test control plane", KeyKind.ECDSA_P256, NOW - timedelta(days=1), timedelta(days=3650))
    assert tls.ensure(tmp_path, other, more, NOW)
    assert reading.is_issued_by(_leaf(tmp_path), other.certificate)


@pytest.mark.parametrize("damage", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_damaged_file_is_replaced(tmp_path: Path, authority: Authority, damage: bytes) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    tls.own_pair(tmp_path).certificate.write_bytes(damage)
    assert tls.ensure(tmp_path, authority, NAMES, NOW)
    assert _leaf(tmp_path).not_valid_after_utc > NOW


class Listener:
    """Accepts one connection at a time, as the web process does, until it is closed."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.context.current().wrap_socket(connection, server_side=True).close()
                except (ssl.SSLError, OSError):
                    continue

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(timeout=5)


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> Iterator[Listener]:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    listener = Listener(ServerContext(tls.own_pair(tmp_path)))
    yield listener
    listener.close()


def _seen(port: int, authority: Authority, version: ssl.TLSVersion | None = None) -> x509.Certificate:
    context = ssl.create_default_context(cadata=bundle.to_pem(authority.certificate))
    if version:
        context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
        assert der
        assert connection.version() == "TLSv1.3"
    return x509.load_der_x509_certificate(der)


def test_a_client_that_trusts_the_ca_is_served(served: Listener, tmp_path: Path, authority: Authority) -> None:
    assert _seen(served.port, authority) == _leaf(tmp_path)


def test_nothing_older_than_tls_1_3_is_spoken(served: Listener, authority: Authority) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _seen(served.port, authority, ssl.TLSVersion.TLSv1_2)


def test_a_renewed_certificate_is_presented_to_the_next_connection(tmp_path: Path, authority: Authority) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    context = ServerContext(tls.own_pair(tmp_path))
    before = _presented(context)
    tls.ensure(tmp_path, authority, NAMES, NOW + timedelta(days=61))
    assert _presented(context) == _leaf(tmp_path) != before


def _presented(context: ServerContext) -> x509.Certificate:
    """What a client is shown that looks at no dates."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.current().wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    der = client.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def _operators_pair(folder: Path, authority: Authority) -> Pair:
    """An operator's certificate and key in two files, as other tools write them."""
    folder.mkdir(exist_ok=True)
    tls.ensure(folder, authority, NAMES, NOW)
    pem = tls.own_pair(folder).certificate.read_text()
    cut = pem.index("-----BEGIN CERTIFICATE")
    pair = Pair(folder / "cert.pem", folder / "key.pem")
    pair.key.write_text(pem[:cut])
    pair.certificate.write_text(pem[cut:])
    return pair


def test_half_of_a_new_pair_keeps_the_old_one_in_use(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "RETRY_UNREADABLE", 0.0)
    pair = _operators_pair(tmp_path / "one", authority)
    other = _operators_pair(tmp_path / "two", authority)
    context = ServerContext(pair)
    before = context.current()
    pair.certificate.write_bytes(other.certificate.read_bytes())
    assert context.current() is before
    pair.certificate.unlink()
    assert context.current() is before
    pair.certificate.write_bytes(other.certificate.read_bytes())
    pair.key.write_bytes(other.key.read_bytes())
    assert context.current() is not before
    assert _presented(context) == _leaf(tmp_path / "two")


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, authority: Authority) -> None:
    context = ServerContext(_operators_pair(tmp_path, authority))
    before = context.current()
    assert context.current() is before
    os.utime(tmp_path / "cert.pem")
    assert context.current() is not before


def test_an_encrypted_key_is_an_error_and_no_question(tmp_path: Path, authority: Authority) -> None:
    pair = _operators_pair(tmp_path, authority)
    key = keys.from_pem(pair.key.read_bytes())
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x" * 16)))
    with pytest.raises(NotConfigured, match="the key is encrypted"):
        ServerContext(pair)


def test_files_that_are_missing_or_do_not_match_are_told_by_name(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(NotConfigured, match=r"cert\.pem: No such file or directory") as told:
        ServerContext(Pair(tmp_path / "cert.pem", tmp_path / "key.pem"))
    assert "CERTCTL_SERVER_TLS_CERT_PATH" in told.value.hint
    one, two = _operators_pair(tmp_path / "one", authority), _operators_pair(tmp_path / "two", authority)
    with pytest.raises(NotConfigured, match="the key is not that of the certificate"):
        ServerContext(Pair(one.certificate, two.key))


def test_clients_are_asked_for_certificates_only_while_some_ca_of_theirs_is_trusted(
    tmp_path: Path, authority: Authority
) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    trusted: list[x509.Certificate] = []
    context = ServerContext(tls.own_pair(tmp_path), Clients(lambda: tuple(trusted)))
    assert context.current().verify_mode is ssl.CERT_NONE
    before = context.current()

    trusted.append(authority.certificate)
    assert context.current().verify_mode is ssl.CERT_OPTIONAL
    assert context.current() is not before
    assert context.current() is context.current()
    assert [dict(one[0] for one in found["subject"]) for found in context.current().get_ca_certs()] == [
        {"commonName": "Test control plane"}
    ]
    trusted.clear()
    assert context.current().verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("old", [False, True], ids=["TLS 1.3", "TLS 1.2 too"])
def test_tls_1_2_is_spoken_only_where_it_is_permitted(tmp_path: Path, authority: Authority, old: bool) -> None:
    tls.ensure(tmp_path, authority, NAMES, NOW)
    context = ServerContext(tls.own_pair(tmp_path), Clients(tls_1_2=old)).current()
    assert context.minimum_version is (ssl.TLSVersion.TLSv1_2 if old else ssl.TLSVersion.TLSv1_3)
    names_of_1_2 = [one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"]
    assert all(one.startswith("ECDHE-") and ("GCM" in one or "POLY1305" in one) for one in names_of_1_2)
