"""Exports over HTTP."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from certctl_core.models.access import Role
from certctl_web.options import Options
from tests.web.api import EVERY_STORE, GIVEN, Api, make_api

EXPORT = "/api/v1/certificates/mc-site/export"


def issued(api: Api) -> Api:
    """With the certificate mc-site, issued."""
    agent = api.agent()
    api.certificate(api.target(agent))
    assert api.issue(agent, "mc-site").status == 202
    return api


@EVERY_STORE
def test_pem_is_shown_or_downloaded(fleet: Api) -> None:
    issued(fleet)
    shown = fleet.get(f"{EXPORT}/pem", by=Role.VIEWER).json
    (leaf,) = x509.load_pem_x509_certificates(shown["cert_pem"].encode())
    (version,) = fleet.get("/api/v1/certificates/mc-site/versions").json["data"]
    assert leaf.serial_number == int(version["serial_number"], 16)
    assert shown["full_pem"] == shown["cert_pem"] + shown["chain_pem"] == version["pem_chain"]
    file = fleet.get(f"{EXPORT}/pem?download=true")
    assert file.content.decode() == shown["full_pem"]
    assert file.headers["content-type"] == "application/x-pem-file"
    assert file.headers["content-disposition"] == 'attachment; filename="certificate.pem"'


@EVERY_STORE
@pytest.mark.parametrize("body", [None, {}, {"password": ""}, {"password": "s3cret"}])
def test_a_trust_store_is_downloaded(fleet: Api, body: dict[str, str] | None) -> None:
    issued(fleet)
    file = fleet.post(f"{EXPORT}/pkcs12", body)
    assert file.status == 200
    assert file.headers["content-type"] == "application/x-pkcs12"
    assert file.headers["content-disposition"] == 'attachment; filename="certificate.p12"'
    password = (body or {}).get("password", "").encode() or None
    loaded = pkcs12.load_pkcs12(file.content, password)
    assert (loaded.key, len(loaded.additional_certs)) == (None, 1)


def test_what_was_never_issued_is_not_there(fleet: Api) -> None:
    fleet.certificate()
    assert fleet.get(f"{EXPORT}/pem").status == 404
    assert fleet.post(f"{EXPORT}/pkcs12", {}).status == 404


def test_a_caller_that_had_its_exports_is_told_when_there_are_more() -> None:
    api = make_api(Options(given_keys=GIVEN, rate=None, exports_per_hour=2))
    api.foundations()
    issued(api)
    somebody_else = {"X-Actor": "somebody else"}
    assert [api.get(f"{EXPORT}/pem").status, api.post(f"{EXPORT}/pkcs12", {}).status] == [200, 200]
    refused = api.get(f"{EXPORT}/pem", headers=somebody_else)
    assert refused.status == 429
    assert (refused.json["error"], refused.json["retry_after_seconds"]) == ("rate_limit_exceeded", 3600)
    assert refused.headers["retry-after"] == "3600"
    assert api.get(f"{EXPORT}/pem", by=Role.OPERATOR).status == 200
    api.app.close()
