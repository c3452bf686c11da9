"""SCEP over HTTP: what clients ask and in which form, and what administrators see of it."""

import base64
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import Role
from certctl_core.pki import cms, keys
from certctl_web import scep_service, settings
from certctl_web.metrics import PrometheusMeter
from certctl_web.options import Options
from tests import devices, strangers
from tests.authority import pem
from tests.devices import Device
from tests.stand_ins import MovableClock
from tests.tokens import token
from tests.web.api import GIVEN, Api, Reply, make_api, make_ports
from tests.web.est_world import BIRTH, Connection, born

CHALLENGE = "open sesame"
MESSAGE = "application/x-pki-message"
CONNECTOR = strangers.key("connector")


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    """The connector's certificate, in a file."""
    file = tmp_path / "connector.pem"
    certificate = strangers.certificate("connector", public_key=CONNECTOR.public_key(), life=36500 * strangers.DAY)
    file.write_text(pem(certificate))
    return file


@pytest.fixture
def api(anchors: Path, tmp_path: Path) -> Iterator[Api]:
    """A service without a label, and one for phones whose RA is the operator's and which a connector may send to."""
    key = devices.rsa_key("RA")
    (tmp_path / "ra.pem").write_text(pem(devices.registration_authority()))
    (tmp_path / "ra.key").write_text(keys.to_pem(key))
    (tmp_path / "makers.pem").write_text(pem(BIRTH.certificate))
    common = {
        "OWNER_ID": "o-1",
        "TEAM_ID": "t-1",
        "RA_CERT_PATH": f"{tmp_path}/ra.pem",
        "RA_KEY_PATH": f"{tmp_path}/ra.key",
    }
    given = {
        "CERTCTL_SCEP_ENABLED": "true",
        "CERTCTL_SCEP_CHALLENGE_PASSWORD": CHALLENGE,
        "CERTCTL_SCEP_PROFILES": "phones,desks",
        "CERTCTL_SCEP_PROFILE_DESKS_CHALLENGE_PASSWORD": CHALLENGE,
        "CERTCTL_SCEP_PROFILE_DESKS_MTLS_ENABLED": "true",
        "CERTCTL_SCEP_PROFILE_DESKS_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH": f"{tmp_path}/makers.pem",
        "CERTCTL_SCEP_PROFILE_PHONES_INTUNE_ENABLED": "true",
        "CERTCTL_SCEP_PROFILE_PHONES_INTUNE_CONNECTOR_CERT_PATH": str(anchors),
        "CERTCTL_SCEP_PROFILE_PHONES_ALLOW_3DES": "true",
        "CERTCTL_PUBLIC_URL": "https://pki.example.com",
        **{f"CERTCTL_SCEP_{name}": value for name, value in common.items()},
        **{
            f"CERTCTL_SCEP_PROFILE_{label}_{name}": value
            for label in ("PHONES", "DESKS")
            for name, value in common.items()
        },
    }
    clock = MovableClock()
    options = Options(given_keys=GIVEN, rate=None, scep=scep_service.doors(settings.load(given).settings))
    made = make_api(options, make_ports(MemoryStore().work, clock, meter=PrometheusMeter()), clock)
    made.foundations()
    yield made
    made.app.close()


def ra_of(api: Api, path: str = "/scep") -> x509.Certificate:
    return devices.authorities(api.get(f"{path}?operation=GetCACert", by=None).content)[0]


def post(api: Api, message: bytes, path: str = "/scep?operation=PKIOperation", kind: str = MESSAGE) -> Reply:
    return api.call("POST", path, by=None, body=message, headers={"Content-Type": kind} if kind else {})


def test_a_client_asks_what_the_service_can_do(api: Api) -> None:
    found = api.get("/scep?operation=GetCACaps", by=None)
    assert (found.status, found.headers["content-type"]) == (200, "text/plain")
    lines = found.content.decode().splitlines()
    expected = {"AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-512", "GetNextCACert"}
    assert set(lines) == expected
    assert b"DES3\n" in api.get("/scep/phones?operation=GetCACaps", by=None).content


def test_a_client_is_given_the_ra_and_the_chain_of_the_ca(api: Api) -> None:
    found = api.get("/scep?operation=GetCACert&message=anything", by=None)
    assert (found.status, found.headers["content-type"]) == (200, "application/x-x509-ca-ra-cert")
    ra, authorities = devices.authorities(found.content)
    assert ra == devices.registration_authority()
    issuer = api.get("/.well-known/pki/ca/iss-local", by=None).content
    assert [one.public_bytes(Encoding.DER) for one in authorities] == [issuer]


def test_a_client_is_told_of_the_ca_that_comes(api: Api) -> None:
    assert api.get("/scep?operation=GetNextCACert", by=None).status == 404
    present = x509.load_der_x509_certificate(api.get("/.well-known/pki/ca/iss-local", by=None).content)
    asked = {"name": "Next CA", "subject": {"common_name": "Next CA"}}
    made = api.post("/api/v1/issuers/iss-local/intermediates", asked)
    assert made.status == 201, made.content
    found = api.get("/scep?operation=GetNextCACert", by=None)
    assert (found.status, found.headers["content-type"]) == (200, "application/x-x509-next-ca-cert")
    message = cms.read_signed(found.content)
    assert message.signer == present
    (coming,) = pkcs7.load_der_pkcs7_certificates(message.content or b"")
    assert coming.subject == strangers.name("Next CA")
    assert api.post(f"/api/v1/intermediates/{made.json['id']}/activate", {}).status == 200
    assert api.get("/scep?operation=GetNextCACert", by=None).status == 404


PATHS = ("/scep", "/scep/pkiclient.exe", "/cgi-bin/pkiclient.exe", "/scep/phones", "/scep/phones/pkiclient.exe")


@pytest.mark.parametrize("path", PATHS)
def test_clients_find_the_service_where_they_look_for_it(api: Api, path: str) -> None:
    device, ra = Device(), ra_of(api, path)
    phones = "phones" in path
    at = int(api.clock.now().timestamp())
    claims = {"sub": "1", "aud": "https://pki.example.com/scep/phones", "iat": at, "exp": at + 60, "nonce": "n"}
    challenge = token({**claims, "device_name": device.common_name}, CONNECTOR) if phones else CHALLENGE
    reply = post(api, device.pkcs_req(ra, challenge), f"{path}?operation=PKIOperation")
    assert (reply.status, reply.headers["content-type"]) == (200, MESSAGE)
    assert reply.headers["cache-control"] == "no-store"
    (given,) = device.read(reply.content).certificates
    assert keys.same_key(given, device.key)


@pytest.mark.parametrize("escaped", [True, False])
def test_a_message_may_come_in_the_query(api: Api, escaped: bool) -> None:
    device = Device()
    text = base64.b64encode(device.pkcs_req(ra_of(api), CHALLENGE)).decode()
    assert "+" in text
    text = urllib.parse.quote(text, safe="") if escaped else text
    reply = api.get(f"/scep?operation=PKIOperation&message={text}", by=None)
    assert device.read(reply.content).status == "0"


def test_a_client_that_does_not_say_what_it_posts_posts_a_message(api: Api) -> None:
    device = Device()
    reply = post(api, device.pkcs_req(ra_of(api), CHALLENGE), "/scep", kind="")
    assert device.read(reply.content).status == "0"


def test_a_wrong_challenge_is_answered_in_scep(api: Api) -> None:
    device = Device()
    reply = post(api, device.pkcs_req(ra_of(api), "wrong"))
    assert reply.status == 200
    said = device.read(reply.content)
    assert (said.status, said.fail_info, said.text) == ("2", "2", "the challenge is not accepted")


BAD = {
    "no message": b"",
    "noise": bytes(range(256)) * 8,
    "a bare CSR": Device().csr(CHALLENGE).public_bytes(Encoding.DER),
    "a bare CSR in base64": base64.b64encode(Device().csr(CHALLENGE).public_bytes(Encoding.DER)),
    "a CSR that is signed and not enciphered": cms.sign(
        Device().csr(CHALLENGE).public_bytes(Encoding.DER), Device().signer
    ),
    "too much": bytes(70_000),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_message_is_refused_and_nothing_is_stored(api: Api, case: str) -> None:
    assert post(api, BAD[case]).status == (413 if case == "too much" else 400)
    assert api.get("/api/v1/certificates").json["total"] == 0
    with api.ports.work() as work:
        assert work.presented.count("scep nonce ") == 0


@pytest.mark.parametrize("operation", ["", "GetCACapabilities", "getcacaps", "GetCACert2"])
def test_an_unknown_operation_is_refused(api: Api, operation: str) -> None:
    reply = api.get(f"/scep?operation={operation}", by=None)
    assert (reply.status, reply.fields) == (400, ["operation"])
    assert post(api, b"", "/scep?operation=GetCACert").status == 400
    assert api.get("/scep?operation=PKIOperation&message=%21", by=None).status == 400


def test_clients_call_their_messages_anything(api: Api) -> None:
    device = Device()
    reply = post(api, device.pkcs_req(ra_of(api), CHALLENGE), kind="application/x-www-form-urlencoded")
    assert device.read(reply.content).status == "0"


def test_there_is_nothing_at_other_labels(api: Api) -> None:
    assert api.get("/scep/printers?operation=GetCACaps", by=None).status == 404
    closed = make_api(Options(given_keys=GIVEN), api.ports, api.clock)
    assert closed.get("/scep?operation=GetCACaps", by=None).status == 404
    closed.app.close()


# TLS client certificates


def test_a_door_may_want_a_tls_client_certificate_and_then_nothing_goes_without(api: Api) -> None:
    shown = {"extras": {"gunicorn.socket": Connection(born())}, "by": None}
    found = api.get("/scep-mtls/desks?operation=GetCACert", **shown)
    device, (ra, _) = Device(), devices.authorities(found.content)
    message = device.pkcs_req(ra, CHALLENGE)
    path = "/scep-mtls/desks?operation=PKIOperation"
    assert api.call("POST", path, by=None, body=message).status == 401
    reply = api.call("POST", path, body=message, **shown)
    assert device.read(reply.content).status == "0"
    assert post(api, message, "/scep/desks?operation=PKIOperation").status == 404


UNTRUSTED = {
    "a stranger's": strangers.certificate("phone", life=36500 * strangers.DAY),
    "one for servers": born("phone", "serverAuth"),
    "the CA's own": BIRTH.certificate,
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_a_tls_client_certificate_must_be_one_of_the_bundles(api: Api, case: str) -> None:
    shown = {"gunicorn.socket": Connection(UNTRUSTED[case])}
    assert api.get("/scep-mtls/desks?operation=GetCACaps", by=None, extras=shown).status == 401


def test_a_door_that_wants_no_tls_client_certificate_is_not_where_one_is_wanted(api: Api) -> None:
    shown = {"gunicorn.socket": Connection(born())}
    for path in ("/scep-mtls", "/scep-mtls/phones", "/scep-mtls/printers"):
        assert api.get(f"{path}?operation=GetCACaps", by=None, extras=shown).status == 404


# What administrators see


def _signed(api: Api, device: Device, **changes: object) -> str:
    at = int(api.clock.now().timestamp())
    claims = {"sub": "1", "aud": "https://pki.example.com/scep/phones", "iat": at, "exp": at + 60, "nonce": "n-1"}
    return token({**claims, "device_name": device.common_name, **changes}, CONNECTOR)


def test_administrators_see_the_doors(api: Api, anchors: Path) -> None:
    found = api.get("/api/v1/admin/scep/profiles").json
    first, phones, desks = found["profiles"]
    assert found["profile_count"] == 3
    assert (desks["mtls_enabled"], first["mtls_enabled"]) == (True, False)
    assert desks["mtls_trust_bundle_path"].endswith("makers.pem")
    assert (first["path_id"], first["challenge_password_set"], first["ra_cert_subject"]) == ("", True, "CN=own RA")
    assert "intune" not in first
    assert (phones["path_id"], phones["challenge_password_set"]) == ("phones", False)
    trust = phones["intune"]
    assert trust["trust_anchor_path"] == str(anchors)
    assert trust["trust_anchors"][0]["subject"] == "CN=connector"
    assert trust["audience"] == "https://pki.example.com/scep/phones"
    assert trust["challenge_validity_ns"] == 3600 * 10**9
    assert CHALLENGE not in str(found)


def test_administrators_see_what_became_of_challenges(api: Api) -> None:
    def counted(verdict: str) -> int:
        _, phones, _ = api.get("/api/v1/admin/scep/intune/stats").json["profiles"]
        return int(phones["counters"].get(verdict, 0))

    good, wrong = counted("success"), counted("wrong_audience")
    device, ra = Device(), ra_of(api, "/scep/phones")
    for challenge in (_signed(api, device), _signed(api, device, aud="them")):
        post(api, device.pkcs_req(ra, challenge), "/scep/phones?operation=PKIOperation")
    assert (counted("success") - good, counted("wrong_audience") - wrong) == (1, 1)
    _, phones, _ = api.get("/api/v1/admin/scep/intune/stats").json["profiles"]
    assert (phones["enabled"], phones["replay_cache_size"]) == (True, 1)
    assert b'certctl_scep_messages_total{label="phones"' in api.get("/api/v1/metrics/prometheus").content


def test_the_connectors_certificates_are_read_anew(api: Api, anchors: Path) -> None:
    def reload(label: str = "phones") -> int:
        return api.post("/api/v1/admin/scep/intune/reload-trust", {"path_id": label}).status

    device, ra = Device(), ra_of(api, "/scep/phones")
    other = strangers.certificate("next", public_key=strangers.key("next").public_key(), life=36500 * strangers.DAY)
    anchors.write_text(pem(other))
    assert reload() == 200
    refused = post(api, device.pkcs_req(ra, _signed(api, device)), "/scep/phones?operation=PKIOperation")
    assert device.read(refused.content).status == "2"
    anchors.write_text("no certificate")
    assert reload() == 503
    _, phones, _ = api.get("/api/v1/admin/scep/intune/stats").json["profiles"]
    assert phones["trust_anchors"][0]["subject"] == "CN=next"
    assert (reload(""), reload("printers")) == (409, 404)


def test_only_administrators_see_any_of_it(api: Api) -> None:
    for role in (Role.OPERATOR, Role.VIEWER, Role.AUDITOR):
        assert api.get("/api/v1/admin/scep/profiles", by=role).status == 403
        assert api.get("/api/v1/admin/scep/intune/stats", by=role).status == 403
        assert api.post("/api/v1/admin/scep/intune/reload-trust", {}, by=role).status == 403
