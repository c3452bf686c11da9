"""CAs of an issuer over REST: a tree of them, a sub-CA under a foreign root, a rollover, and the end of an old one."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from certctl_core.models.access import Role
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import bundle, ca, crl, csr, names, paths, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CaPlan
from certctl_core.ports.issuer import Issued, IssueRequest
from certctl_core.usecases import crls, hierarchy
from tests import plans
from tests.web.api import EVERY_STORE, START, AnAgent, Api

pytestmark = EVERY_STORE
LIMITS = [{"permitted": ["example.org", "IP:10.0.0.0/8"], "excluded": ["secret.example.org"]}]


@pytest.fixture
def agent(api: Api) -> AnAgent:
    api.foundations()
    return api.agent()


def _cas(api: Api, issuer: str = "iss-local") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/api/v1/issuers/{issuer}/intermediates").json["data"]
    return found


def _made(api: Api, issuer: str = "iss-local", **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = api.made(f"/api/v1/issuers/{issuer}/intermediates", {"name": "Issuing CA", **body})
    return made


def _do(api: Api, what: str, made: dict[str, Any], **body: Any) -> Any:
    reply = api.post(f"/api/v1/intermediates/{made['id']}/{what}", body)
    api.clock.advance(timedelta(seconds=1))
    return reply


def _leaf(api: Api, agent: AnAgent, name: str, **more: Any) -> tuple[x509.Certificate, ...]:
    """A leaf with the chain it is delivered with."""
    target = api.target(agent, name)
    made = api.certificate(target, name=name, **more)["id"]
    reply = api.issue(agent, made)
    assert reply.status == 202, reply.json
    version = api.get(f"/api/v1/certificates/{made}/versions").json["data"][0]
    return bundle.from_pem(version["pem_chain"])


def _chain(made: dict[str, Any]) -> tuple[x509.Certificate, ...]:
    return bundle.from_pem(made["chain_pem"])


def _signed(root: Authority, asked: x509.CertificateSigningRequest, serial: str = "77") -> tuple[x509.Certificate, ...]:
    plan = CaPlan(
        subject=asked.subject,
        public_key=asked.public_key(),
        serial_number=serial,
        not_before=START - timedelta(days=1),
        not_after=START + timedelta(days=1000),
        path_length=0,
    )
    return ca.sign_ca(root, plan)


@pytest.fixture(scope="module")
def foreign() -> Authority:
    return ca.create_root("Offline Root", KeyKind.ECDSA_P384, START - timedelta(days=2), timedelta(days=3650))


def test_the_first_ca_of_an_issuer_is_its_root_and_signs(api: Api, agent: AnAgent) -> None:
    (root,) = _cas(api)
    assert (root["id"], root["state"], root["signs_leafs"]) == ("iss-local", "active", True)
    (leaf,) = _leaf(api, agent, "plain")
    assert reading.is_issued_by(leaf, _chain(root)[0])


def test_an_intermediate_signs_from_when_it_is_activated_and_is_sent_along(api: Api, agent: AnAgent) -> None:
    made = _made(api, parent_ca_id="iss-local", ttl_days=365, path_len_constraint=0, algorithm="ECDSA-P384")
    assert (made["state"], made["signs_leafs"], made["parent_ca_id"]) == ("active", False, "iss-local")
    assert len(_leaf(api, agent, "before")) == 1
    assert _do(api, "activate", made).json["signs_leafs"]
    chain = _leaf(api, agent, "after")
    assert chain[1:] == _chain(made)[:1]
    assert paths.judge(chain[0], chain[1:], [_chain(made)[-1]], START, eku="serverAuth")
    assert {one["id"]: one["signs_leafs"] for one in _cas(api)} == {"iss-local": False, made["id"]: True}


def test_a_leaf_names_where_the_certificate_of_its_own_ca_is(api: Api, agent: AnAgent) -> None:
    assert agent
    root, made = _cas(api)[0], _made(api, parent_ca_id="iss-local")
    _do(api, "activate", made)
    plan = plans.plan(sans=names.names_of("a.example.com", []), not_before=START, not_after=START + timedelta(days=1))
    request = csr.build(plans.key(), "a.example.com", [])
    for ordered_at, ca_of_it in ((START, root), (api.clock.now(), made)):
        order = IssueRequest("order", request, plan, ordered_at)
        issued = api.ports.issuers.connect(_issuer(api)).issue(order)
        assert isinstance(issued, Issued)
        (url,) = reading.facts(issued.certificate).ca_issuers_urls
        path = url.partition("/ca/")[2]
        found = x509.load_der_x509_certificate(api.get(f"/.well-known/pki/ca/{path}", by=None).content)
        assert reading.is_issued_by(issued.certificate, found)
        assert found == _chain(ca_of_it)[0]


def test_names_and_policies_are_in_the_certificate_and_hold(api: Api, agent: AnAgent) -> None:
    made = _made(
        api,
        parent_ca_id="iss-local",
        name_constraints=LIMITS,
        policies=[{"oid": "1.3.6.1.4.1.55555.1", "cps": "https://pki.example.org/cps"}],
        subject={"common_name": "Limited CA", "organization": ["Example"], "country": ["DE"]},
    )
    assert made["subject"] == "CN=Limited CA,O=Example,C=DE"
    assert made["name_constraints"] == [
        {"permitted": ["DNS:example.org", "IP:10.0.0.0/8"], "excluded": ["DNS:secret.example.org"]}
    ]
    own = _chain(made)[0]
    assert own.extensions.get_extension_for_class(x509.NameConstraints).critical
    (policy,) = own.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policy.policy_qualifiers == ["https://pki.example.org/cps"]
    _do(api, "activate", made)
    target = api.target(agent)
    inside = api.certificate(target, name="inside", common_name="a.example.org", sans=["a.example.org"])["id"]
    outside = api.certificate(target, name="outside", common_name="a.example.net", sans=["a.example.net"])["id"]
    assert api.issue(agent, inside).status == 202
    refused = api.issue(agent, outside)
    assert refused.status == 502
    assert "does not certify this" in refused.json["message"]


def test_a_ca_below_has_no_more_room_than_the_one_above(api: Api, agent: AnAgent) -> None:
    assert agent
    first = _made(api, parent_ca_id="iss-local", path_len_constraint=1)
    second = _made(api, name="Second", parent_ca_id=first["id"], path_len_constraint=0)
    assert len(_chain(second)) == 3
    reply = api.post("/api/v1/issuers/iss-local/intermediates", {"name": "Third", "parent_ca_id": second["id"]})
    assert reply.status == 422
    assert "in a path" in reply.json["message"]


def test_an_issuer_can_be_below_another_one(api: Api, agent: AnAgent) -> None:
    other = api.made("/api/v1/issuers", {"name": "Sub", "type": "local", "config": {"make_root": False}})["id"]
    assert _cas(api, other) == []
    assert api.post(f"/api/v1/issuers/{other}/test", {}).status == 503
    made = _made(api, other, parent_ca_id="iss-local")
    assert made["signs_leafs"]
    chain = _leaf(api, agent, "below", issuer_id=other)
    assert [one.subject.rfc4514_string() for one in chain[1:]] == ["CN=Issuing CA"]
    assert reading.is_issued_by(chain[1], _chain(_cas(api)[0])[0])


def test_a_sub_ca_of_a_foreign_root_by_csr_and_certificate(api: Api, agent: AnAgent, foreign: Authority) -> None:
    other = api.made("/api/v1/issuers", {"name": "Sub", "type": "local", "config": {"make_root": False}})["id"]
    made = _made(api, other, external=True, subject={"common_name": "Sub of ours"}, path_len_constraint=0)
    assert (made["state"], made["cert_pem"], made["signs_leafs"]) == ("pending", "", False)
    pem = api.get(f"/api/v1/intermediates/{made['id']}/csr").content
    asked = x509.load_pem_x509_csr(pem)
    assert asked.is_signature_valid
    assert asked.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    chain = _signed(foreign, asked)
    assert _do(api, "activate", made).status == 409

    installed = _do(api, "certificate", made, certificate_pem=bundle.to_pem(*reversed(chain)))
    assert installed.status == 200, installed.json
    assert (installed.json["state"], installed.json["signs_leafs"]) == ("active", True)
    assert _chain(installed.json) == chain
    delivered = _leaf(api, agent, "below", issuer_id=other)
    assert delivered[1:] == chain[:1]
    assert paths.judge(delivered[0], delivered[1:], [foreign.certificate], START)

    # The same key gets its next certificate.
    again = x509.load_pem_x509_csr(api.get(f"/api/v1/intermediates/{made['id']}/csr").content)
    renewed = _signed(foreign, again, "78")
    assert _do(api, "certificate", made, certificate_pem=bundle.to_pem(*renewed)).status == 200
    assert _leaf(api, agent, "later", issuer_id=other)[1].serial_number == 0x78


def test_a_certificate_that_does_not_fit_is_refused_with_the_reason(
    api: Api, agent: AnAgent, foreign: Authority
) -> None:
    assert agent
    made = _made(api, external=True)
    asked = x509.load_pem_x509_csr(api.get(f"/api/v1/intermediates/{made['id']}/csr").content)
    own, root = _signed(foreign, asked)
    stranger = ca.create_root("Stranger", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=9)).certificate
    for given, words in (
        ((root,), "for the key"),
        ((own,), "no root"),
        ((own, stranger), "no root"),
    ):
        reply = _do(api, "certificate", made, certificate_pem=bundle.to_pem(*given))
        assert reply.status == 400
        assert words in reply.json["message"]
    api.clock.advance(timedelta(days=2000))
    late = _do(api, "certificate", made, certificate_pem=bundle.to_pem(own, root))
    assert (late.status, "valid from" in late.json["message"]) == (400, True)


# A rollover


def test_old_and_new_sign_side_by_side_until_the_old_one_has_drained(api: Api, agent: AnAgent) -> None:
    (old_leaf,) = _leaf(api, agent, "old")
    old = _cas(api)[0]
    new = _made(api, name="Next Root", subject={"common_name": "Next Root"})
    assert _do(api, "retire", old).status == 409, "it signs new leafs"
    _do(api, "activate", new)
    api.clock.advance(timedelta(days=2))
    assert reading.is_issued_by(_leaf(api, agent, "new")[0], _chain(new)[0])

    retiring = _do(api, "retire", old, note="second generation")
    assert (retiring.status, retiring.json["confirmed"]) == (200, False)
    assert retiring.json["drains_at"] == f"{old_leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    facts = api.ports.issuers.connect(_issuer(api)).authorities()  # type: ignore[attr-defined]
    assert [one.state.value for one in facts] == ["active", "retiring"]
    assert _status(api, old_leaf, _chain(old)[0]) is ocsp.OCSPCertStatus.GOOD

    early = _do(api, "retire", old, confirm=True)
    assert early.status == 409
    assert "valid until" in early.json["message"]
    assert hierarchy.drain(api.ports) == 0
    api.clock.present = old_leaf.not_valid_after_utc + timedelta(seconds=1)
    assert hierarchy.drain(api.ports) == 1
    assert api.get(f"/api/v1/intermediates/{old['id']}").json["state"] == "retired"
    assert _do(api, "activate", old).status == 409


def _issuer(api: Api) -> Any:
    with api.ports.work() as work:
        return work.issuers.get("iss-local")


def _status(api: Api, leaf: x509.Certificate, issuer: x509.Certificate) -> ocsp.OCSPCertStatus:
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256()).build()
    reply = api.call(
        "POST",
        "/.well-known/pki/ocsp/iss-local",
        body=request.public_bytes(bundle.Encoding.DER),
        headers={"Content-Type": "application/ocsp-request"},
        by=None,
    )
    return ocsp.load_der_ocsp_response(reply.content).certificate_status


def test_an_old_ca_is_retired_at_once_by_somebody_who_says_why(api: Api, agent: AnAgent) -> None:
    _leaf(api, agent, "old")
    old, new = _cas(api)[0], _made(api)
    _do(api, "activate", new)
    _do(api, "retire", old)
    done = _do(api, "retire", old, confirm=True, note="its key is lost")
    assert (done.status, done.json["confirmed"], done.json["decided_by"]) == (200, True, "admin-person")
    event = api.get("/api/v1/audit?action=intermediate_ca_retired").json["data"][0]
    assert event["details"]["note"] == "its key is lost"


def test_a_retiring_ca_can_be_put_in_charge_again(api: Api, agent: AnAgent) -> None:
    assert agent
    old, new = _cas(api)[0], _made(api)
    _do(api, "activate", new)
    _do(api, "retire", old)
    assert _do(api, "activate", old).json["state"] == "active"
    assert {one["id"]: one["signs_leafs"] for one in _cas(api)} == {"iss-local": True, new["id"]: False}


def test_a_ca_that_signs_below_itself_drains_when_they_have_ended(api: Api, agent: AnAgent) -> None:
    assert agent
    root = _cas(api)[0]
    made = _made(api, parent_ca_id="iss-local", ttl_days=100)
    _do(api, "activate", made)
    done = _do(api, "retire", root)
    assert done.json["drains_at"] == made["not_after"]
    reply = api.post("/api/v1/issuers/iss-local/intermediates", {"name": "More", "parent_ca_id": "iss-local"})
    assert reply.status == 409


def test_what_is_wrong_with_a_wish_is_told_by_field(api: Api, agent: AnAgent) -> None:
    assert agent
    path = "/api/v1/issuers/iss-local/intermediates"
    for body, field in (
        ({"name": "x", "name_constraints": [{"permitted": ["*.example.org"]}]}, "permitted[0]"),
        ({"name": "x", "subject": {"common_name": "x", "country": ["Germany"]}}, "subject.country"),
        ({"name": "x", "policies": [{"oid": "no oid"}]}, "policies[0].oid"),
        ({"name": "x", "policies": [{"oid": "0.99"}]}, "policies[0].oid"),
        ({"name": "x", "ocsp_responder_url": "ldap://x"}, "ocsp_responder_url"),
        ({"name": "x", "parent_ca_id": "iss-local", "external": True}, "parent_ca_id"),
        ({"name": "x", "external": True, "ttl_days": 3}, "external"),
        ({"name": "x", "key_driver_id": "floppy"}, "key_driver_id"),
    ):
        reply = api.post(path, body)
        assert (reply.status, reply.fields) == (400, [field]), reply.json
    assert api.post(path, {"name": "x", "key_driver_id": "pkcs11"}).status == 503
    assert api.post(path, {"name": "x", "parent_ca_id": "ica-none"}).status == 404
    _made(api)
    assert api.post(path, {"name": "Issuing CA"}).status == 409


def test_only_admins_see_and_change_cas(api: Api, agent: AnAgent) -> None:
    assert agent
    for role in (Role.OPERATOR, Role.VIEWER, Role.AUDITOR):
        assert api.get("/api/v1/issuers/iss-local/intermediates", by=role).status == 403
        assert api.post("/api/v1/intermediates/iss-local/retire", {}, by=role).status == 403


def test_every_ca_signs_its_own_crl(api: Api, agent: AnAgent) -> None:
    assert agent
    _do(api, "activate", _made(api))
    issuer = api.ports.issuers.connect(_issuer(api))
    for one in issuer.authorities():  # type: ignore[attr-defined]
        plan = crl.CrlPlan(1, START, START + timedelta(days=1), [])
        signed = crl.read(issuer.sign_crl(plan, one.key_identifier))  # type: ignore[attr-defined]
        assert crl.is_signed_by(signed, one.certificate)


def test_a_revoked_ca_is_on_the_crl_of_the_one_above_and_signs_nothing(api: Api, agent: AnAgent) -> None:
    assert agent
    root, made = _cas(api)[0], _made(api, parent_ca_id="iss-local")
    other = _made(api, name="Other", parent_ca_id="iss-local")
    before = crl.read(api.get("/.well-known/pki/crl/iss-local", by=None).content)
    done = _do(api, "revoke", made, reason="caCompromise", note="its host was broken into")
    assert (done.status, done.json["state"], done.json["note"]) == (200, "retired", "its host was broken into")
    crls.sweep(api.ports)
    after = crl.read(api.get("/.well-known/pki/crl/iss-local", by=None).content)
    serial = reading.facts(_chain(made)[0]).serial_number
    entry = crl.entry_of(after, serial)
    assert crl.entry_of(before, serial) is None
    assert entry is not None
    assert entry.reason is RevocationReason.CA_COMPROMISE
    assert crl.is_signed_by(after, _chain(root)[0])
    assert crl.entry_of(after, reading.facts(_chain(other)[0]).serial_number) is None
    assert _do(api, "revoke", made).status == 409, "it is over"
    assert _do(api, "revoke", root).status == 409, "it signs new leafs"
    _do(api, "activate", other)
    assert _do(api, "revoke", root).status == 409, "a root is nobody's to revoke"
    assert (
        api.get("/api/v1/audit?action=intermediate_ca_revoked").json["data"][0]["details"]["reason"] == "caCompromise"
    )
