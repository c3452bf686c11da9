"""EST over the application: what devices ask, what they are answered, and what they are refused."""

import base64
import email.parser
import email.policy
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import Role
from certctl_core.pki import asn1, ca, names
from certctl_core.pki.keys import KeyKind
from certctl_core.usecases.est import Method
from certctl_web.est import EstLabels, Kept, TrustFile
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, START, Api, Reply, make_api, make_ports
from tests.web.est_world import BIRTH, Connection, basic, body, born, certificates, label, openssl, request

ENROL, RENEW, MAKE = ("/.well-known/est/phones/" + word for word in ("simpleenroll", "simplereenroll", "serverkeygen"))


@pytest.fixture
def api() -> Iterator[Api]:
    clock = MovableClock(START)
    labels = EstLabels.of(
        Kept(each)
        for each in (
            label(),
            label("phones", trusted=(BIRTH.certificate,), makes_keys=True),
            label("basic", Method.BASIC),
            label("open", Method.NONE, per_day=2),
            label("bound", is_bound=True),
            label("watched", Method.NONE, profile="prof-watched"),
            label("clients", Method.NONE, profile="prof-clients"),
        )
    )
    made = make_api(Options(given_keys=GIVEN, rate=None, est=labels), make_ports(MemoryStore().work, clock), clock)
    made.foundations()
    made.made("/api/v1/profiles", {"id": "prof-watched", "name": "Watched", "requires_approval": True})
    made.made(
        "/api/v1/profiles",
        {
            "id": "prof-clients",
            "name": "Clients",
            "allowed_ekus": ["clientAuth"],
            "allowed_key_algorithms": [{"algorithm": "RSA", "min_size": 3072}, {"algorithm": "ECDSA", "min_size": 384}],
        },
    )
    yield made
    made.app.close()


def ask(api: Api, path: str, content: bytes, shown: Connection | None = None, **headers: str) -> Reply:
    sent = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64", **headers}
    extras = {"gunicorn.socket": shown} if shown else {}
    return api.post(path, by=None, body=content, headers=sent, extras=extras)


def issued(reply: Reply) -> x509.Certificate:
    assert reply.status == 200, reply.content
    assert reply.headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert reply.headers["content-transfer-encoding"] == "base64"
    assert b"\n" not in reply.content, "base64 is one line"
    (only,) = certificates(reply.content)
    return only


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "path", ["/.well-known/est", "/.well-known/est/default", "/.well-known/est/phones", "/.well-known/est-mtls/phones"]
)
def test_the_ca_certificates_are_a_certs_only_message_that_openssl_reads(api: Api, path: str) -> None:
    reply = api.get(f"{path}/cacerts", by=None)

    root = issued(reply)
    assert root.subject == root.issuer
    printed = openssl("pkcs7", "-inform", "DER", "-print_certs", given=base64.b64decode(reply.content))
    assert b"subject=CN = CertCtl Local CA" in printed or b"subject=CN=CertCtl Local CA" in printed


@pytest.mark.parametrize("form", ["one line", "lines", "PEM", "DER"])
def test_a_device_enrols_with_a_password_in_whichever_form_it_sends_its_csr(api: Api, form: str) -> None:
    csr = request(new_key(), sans=["192.0.2.7"])
    content = {
        "one line": body(csr),
        "lines": base64.encodebytes(csr.public_bytes(Encoding.DER)).replace(b"\n", b"\r\n"),
        "PEM": csr.public_bytes(Encoding.PEM),
        "DER": csr.public_bytes(Encoding.DER),
    }[form]

    certificate = issued(ask(api, ENROL, content, **basic()))

    assert certificate.public_key() == csr.public_key()
    (listed,) = api.get("/api/v1/certificates").json["data"]
    assert (listed["common_name"], listed["status"], listed["source"]) == ("phone-1.example.com", "Active", "EST")
    (event,) = api.get("/api/v1/audit?action=est_simple_enroll").json["data"]
    assert event["details"]["client"] == "the password of the label as phone"


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "application/pkcs10"])
def test_what_the_body_is_called_does_not_matter(api: Api, kind: str) -> None:
    assert issued(ask(api, ENROL, body(request(new_key())), **basic(), **{"Content-Type": kind}))


def test_without_credentials_or_with_wrong_ones_nobody_enrols(api: Api) -> None:
    for headers in ({}, basic("wrong"), {"Authorization": "Bearer x"}, {"Authorization": "Basic !"}):
        reply = ask(api, ENROL, body(request(new_key())), **headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == 'Basic realm="est-enrollment"'
    assert api.get("/api/v1/certificates").json["total"] == 0


def test_who_guesses_is_not_looked_at_for_a_while(api: Api) -> None:
    replies = [ask(api, ENROL, b"", **basic("wrong")).status for _ in range(12)]
    assert replies == [401] * 10 + [429] * 2
    reply = ask(api, ENROL, body(request(new_key())), **basic())
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) > 0


def test_a_secret_of_the_api_enrols_once(api: Api) -> None:
    made = api.made("/api/v1/enrolment-secrets", {"protocol": "EST", "label": "phones"}, by=Role.OPERATOR)
    csr = body(request(new_key()))

    first = issued(ask(api, ENROL, csr, **basic(made["secret"], "")))
    assert issued(ask(api, ENROL, csr, **basic(made["secret"], ""))) == first
    assert ask(api, ENROL, body(request(new_key())), **basic(made["secret"])).status == 401
    assert ask(api, "/.well-known/est/basic/simpleenroll", csr, **basic(made["secret"])).status == 401


def test_a_certificate_of_a_trusted_ca_enrols(api: Api) -> None:
    assert issued(ask(api, ENROL, body(request(new_key())), Connection(born())))
    mtls = "/.well-known/est-mtls/phones/simpleenroll"
    assert issued(ask(api, mtls, body(request(new_key(), "phone-2.example.com")), Connection(born())))
    assert ask(api, mtls, body(request(new_key())), **basic()).status == 401, "only certificates count here"
    (event, *_) = api.get("/api/v1/audit?action=est_simple_enroll").json["data"]
    assert event["details"]["method"] == "mtls"
    assert "CN=phone-1" in event["details"]["client"]


def test_other_certificates_do_not_enrol(api: Api) -> None:
    for_servers = born("phone-1", "serverAuth")
    mine = issued(ask(api, ENROL, body(request(new_key())), **basic()))
    for shown in (for_servers, mine, BIRTH.certificate):
        assert ask(api, ENROL, body(request(new_key())), Connection(shown)).status == 401
    api.clock.advance(timedelta(days=301))
    assert ask(api, ENROL, body(request(new_key())), Connection(born())).status == 401


def test_a_device_renews_the_certificate_that_it_shows(api: Api) -> None:
    first = issued(ask(api, ENROL, body(request(new_key())), **basic()))
    again = body(request(new_key()))

    second = issued(ask(api, RENEW, again, Connection(first)))

    assert second.serial_number != first.serial_number
    assert issued(ask(api, RENEW, again, Connection(first))) == second, "the answer was lost"
    (listed,) = api.get("/api/v1/certificates").json["data"]
    assert api.get(f"/api/v1/certificates/{listed['id']}/versions").json["total"] == 2
    assert issued(ask(api, "/.well-known/est-mtls/phones/simplereenroll", body(request(new_key())), Connection(second)))


def test_the_same_key_may_be_certified_again(api: Api) -> None:
    csr = body(request(new_key()))
    first = issued(ask(api, ENROL, csr, **basic()))
    second = issued(ask(api, RENEW, csr, Connection(first)))
    assert second.public_key() == first.public_key()
    assert second.serial_number != first.serial_number


def test_a_renewal_needs_the_certificate_and_keeps_its_names(api: Api) -> None:
    first = issued(ask(api, ENROL, body(request(new_key())), **basic()))

    assert ask(api, RENEW, body(request(new_key())), **basic()).status == 401
    assert ask(api, RENEW, body(request(new_key())), Connection(born())).status == 401
    assert ask(api, RENEW, body(request(new_key(), "phone-2.example.com")), Connection(first)).status == 422
    elsewhere = "/.well-known/est/simplereenroll"
    assert ask(api, elsewhere, body(request(new_key())), Connection(first)).status == 422
    assert ask(api, "/.well-known/est/basic/simplereenroll", body(request(new_key())), Connection(first)).status == 403
    (listed,) = api.get("/api/v1/certificates").json["data"]
    api.made(f"/api/v1/certificates/{listed['id']}/revoke", {"reason": "keyCompromise"})
    assert ask(api, RENEW, body(request(new_key())), Connection(first)).status == 401


def test_a_pending_request_is_told_when_to_come_back_and_is_answered_then(api: Api) -> None:
    path, csr = "/.well-known/est/watched/simpleenroll", body(request(new_key()))
    reply = ask(api, path, csr)
    assert reply.status == 202
    assert int(reply.headers["retry-after"]) == 300
    (waiting,) = api.get("/api/v1/approvals").json["data"]
    api.made(f"/api/v1/approvals/{waiting['id']}/approve", {})

    assert issued(ask(api, path, csr))


@pytest.mark.parametrize(
    "content",
    [b"", b"?", b"MII", b"\x30\x03\x02\x01\x00", b"-----BEGIN CERTIFICATE REQUEST-----", base64.b64encode(b"x" * 999)],
    ids=["nothing", "no base64", "cut", "DER of something else", "PEM without end", "garbage"],
)
def test_what_is_no_csr_is_refused_and_leaves_no_trace(api: Api, content: bytes) -> None:
    assert ask(api, "/.well-known/est/open/simpleenroll", content).status == 400
    assert api.get("/api/v1/certificates").json["total"] == 0


def test_a_csr_that_its_key_did_not_sign_is_refused(api: Api) -> None:
    der = bytearray(request(new_key()).public_bytes(Encoding.DER))
    at = der.index(b"phone-1")
    der[at : at + 7] = b"phone-9"
    reply = ask(api, "/.well-known/est/open/simpleenroll", base64.b64encode(bytes(der)))
    assert reply.status == 400
    assert "signature" in reply.json["message"]


def test_a_device_enrols_so_often_a_day(api: Api) -> None:
    path = "/.well-known/est/open/simpleenroll"
    statuses = [ask(api, path, body(request(new_key()))).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert ask(api, path, body(request(new_key(), "phone-2.example.com"))).status == 200
    api.clock.advance(timedelta(days=1))
    assert ask(api, path, body(request(new_key()))).status == 200


# --- bound to the TLS session -----------------------------------------------------------------------------------------


def test_a_request_says_of_its_tls_session_what_is_true(api: Api) -> None:
    session = Connection(tls_version="TLSv1.2", unique=b"this session")
    good, bad = base64.b64encode(b"this session"), base64.b64encode(b"another session")
    path = "/.well-known/est/bound/simpleenroll"

    assert issued(ask(api, path, body(request(new_key(), challenge=good)), session, **basic()))
    assert ask(api, path, body(request(new_key(), challenge=bad)), session, **basic()).status == 409
    assert ask(api, path, body(request(new_key())), session, **basic()).status == 400
    over_1_3 = ask(api, path, body(request(new_key(), challenge=good)), Connection(), **basic())
    assert over_1_3.status == 422
    assert "RFC 9266" in over_1_3.json["hint"]
    # Where it does not have to be there, it has to be right all the same.
    assert ask(api, ENROL, body(request(new_key(), challenge=bad)), session, **basic()).status == 409
    assert issued(ask(api, ENROL, body(request(new_key())), session, **basic()))


def printed_attributes(api: Api, name: str) -> bytes:
    reply = api.get(f"/.well-known/est/{name}/csrattrs", by=None)
    return openssl("asn1parse", "-inform", "DER", given=base64.b64decode(reply.content))


def test_the_attributes_of_a_csr_follow_the_profile(api: Api) -> None:
    assert api.get("/.well-known/est/csrattrs", by=None).status == 204
    reply = api.get("/.well-known/est/clients/csrattrs", by=None)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/csrattrs")
    printed = openssl("asn1parse", "-inform", "DER", given=base64.b64decode(reply.content))
    assert b"rsaEncryption" in printed
    assert b":0C00" in printed, "3072"
    assert b"Extension Request" in printed
    assert b"secp384r1" not in printed, "one kind of key"
    bound = openssl(
        "asn1parse",
        "-inform",
        "DER",
        given=base64.b64decode(api.get("/.well-known/est/bound/csrattrs", by=None).content),
    )
    assert b"challengePassword" in bound
    watched = openssl(
        "asn1parse",
        "-inform",
        "DER",
        given=base64.b64decode(api.get("/.well-known/est/watched/csrattrs", by=None).content),
    )
    assert b"id-ecPublicKey" in watched
    assert b"prime256v1" in watched


# --- keys made by the server ------------------------------------------------------------------------------------------


def parts_of(reply: Reply) -> list[email.message.Message]:
    assert reply.status == 200, reply.content
    text = b"Content-Type: " + reply.headers["content-type"].encode() + b"\r\n\r\n" + reply.content
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text)
    assert message.get_content_type() == "multipart/mixed"
    return list(message.iter_parts())


def test_a_key_is_made_for_the_holder_of_a_certificate_alone(api: Api, tmp_path: Path) -> None:
    own = rsa.generate_private_key(65537, 2048)
    shown = born("phone-1", "clientAuth", "serverAuth", key=own)
    reply = ask(api, MAKE, body(request(new_key(), sans=["192.0.2.7"])), Connection(shown))

    key_part, certificate_part = parts_of(reply)
    kinds = [(part.get_content_type(), part.get_param("smime-type")) for part in (key_part, certificate_part)]
    assert kinds == [("application/pkcs7-mime", "server-generated-key"), ("application/pkcs7-mime", "certs-only")]
    assert {part["Content-Transfer-Encoding"] for part in (key_part, certificate_part)} == {"base64"}
    (certificate,) = certificates(str(certificate_part.get_payload()).strip().encode())
    envelope = base64.b64decode(str(key_part.get_payload()))
    for name, content in (
        ("env", envelope),
        ("crt", shown.public_bytes(Encoding.PEM)),
        ("key", own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    ):
        (tmp_path / name).write_bytes(content)
    inside = openssl(
        *("cms", "-decrypt", "-binary", "-inform", "DER", "-in", str(tmp_path / "env")),
        *("-recip", str(tmp_path / "crt"), "-inkey", str(tmp_path / "key")),
    )
    signed = asn1.sequence(asn1.object_identifier("1.2.840.113549.1.7.2"), asn1.tlv(0xA0, inside))
    (tmp_path / "ca").write_bytes(api.get("/.well-known/pki/ca/iss-local", by=None).content)
    (tmp_path / "signed").write_bytes(signed)
    package = openssl(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", str(tmp_path / "signed"), "-noverify"),
    )
    length = 2 + (package[1] & 0x7F if package[1] & 0x80 else 0)
    private_key = load_der_private_key(package[length:], None)
    assert private_key.public_key() == certificate.public_key()
    assert names.common_name_of(certificate.subject) == "phone-1.example.com"
    (event,) = api.get("/api/v1/audit?action=est_server_keygen").json["data"]
    assert event["details"]["method"] == "mtls"


def test_no_key_is_made_that_could_not_be_enciphered(api: Api) -> None:
    with_ec = Connection(born("phone-1", "clientAuth", "serverAuth"))
    assert ask(api, MAKE, body(request(new_key())), with_ec).status == 422
    assert ask(api, MAKE, body(request(new_key())), **basic()).status == 401
    assert ask(api, "/.well-known/est/serverkeygen", body(request(new_key())), with_ec).status == 404
    assert api.get("/api/v1/certificates").json["total"] == 0


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["cacerts", "csrattrs"])
def test_an_unknown_label_is_not_there(api: Api, word: str) -> None:
    assert api.get(f"/.well-known/est/nobody/{word}", by=None).status == 404


def test_est_that_is_off_is_not_there() -> None:
    clock = MovableClock(START)
    api = make_api(Options(given_keys=GIVEN, rate=None), make_ports(MemoryStore().work, clock), clock)
    assert api.get("/.well-known/est/cacerts", by=None).status == 404
    assert ask(api, "/.well-known/est/simpleenroll", b"x").status == 404


def test_a_bundle_is_read_anew_when_it_changes_and_kept_when_it_is_broken(tmp_path: Path) -> None:
    now = 0.0
    file = tmp_path / "bundle.pem"
    first, second = (
        ca.create_root(name, KeyKind.ECDSA_P256, START, timedelta(days=9)).certificate for name in ("One", "Two")
    )
    file.write_bytes(first.public_bytes(Encoding.PEM))
    trust = TrustFile(file, lambda: now)
    assert trust.certificates() == (first,)

    file.write_bytes(first.public_bytes(Encoding.PEM) + second.public_bytes(Encoding.PEM))
    assert trust.certificates() == (first,), "it is looked at once a second"
    now = 1.5
    assert trust.certificates() == (first, second)
    file.write_bytes(b"half of a co")
    now = 3.0
    assert trust.certificates() == (first, second)
    file.unlink()
    now = 5.0
    assert trust.certificates() == (first, second)


def test_names_in_a_device_certificate_need_a_use(api: Api) -> None:
    certificate = issued(ask(api, ENROL, body(request(new_key())), **basic()))
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert certificate.subject == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone-1.example.com")])
    assert hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    assert evolve(label(), name="x").name == "x"


def test_administrators_see_the_labels_and_have_bundles_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(BIRTH.certificate.public_bytes(Encoding.PEM))
    clock = MovableClock(START)
    labels = EstLabels.of([Kept(label("phones"), TrustFile(file)), Kept(label())])
    api = make_api(Options(given_keys=GIVEN, rate=None, est=labels), make_ports(MemoryStore().work, clock), clock)

    shown = api.get("/api/v1/admin/est/profiles").json
    assert [one["path_id"] for one in shown["profiles"]] == ["", "phones"]
    assert shown["profiles"][1]["trust_anchors"][0]["subject"] == "CN=Makers CA"
    assert shown["profiles"][1]["trust_anchor_path"] == str(file)
    assert api.made("/api/v1/admin/est/reload-trust", {"path_id": "phones"})["reloaded"] is True
    assert api.post("/api/v1/admin/est/reload-trust", {"path_id": ""}).status == 409
    assert api.post("/api/v1/admin/est/reload-trust", {"path_id": "nobody"}).status == 404
    file.write_bytes(b"no certificate")
    assert api.post("/api/v1/admin/est/reload-trust", {"path_id": "phones"}).status == 503
    api.app.close()
