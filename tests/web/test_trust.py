"""What an agent is told to believe before it can verify anything."""

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certctl_web.options import Options
from tests.authority import Authority
from tests.web.api import GIVEN, Api, make_api


def test_the_ca_to_pin_is_shown_with_its_fingerprint() -> None:
    ca = Authority().certificate
    api = make_api(Options(given_keys=GIVEN, rate=None, server_ca=lambda: ca))
    shown = api.get("/.well-known/certctl/ca.pem", by=None)
    assert x509.load_pem_x509_certificate(shown.content) == ca
    issued = api.made("/api/v1/agents/join-tokens", {})
    assert issued["ca_fingerprint"] == f"sha256:{ca.fingerprint(SHA256()).hex()}"
    api.app.close()


def test_without_a_ca_of_our_own_there_is_nothing_to_pin(api: Api) -> None:
    shown = api.get("/.well-known/certctl/ca.pem", by=None)
    assert shown.status == 404
    assert "--ca-bundle" in shown.json["hint"]
    assert api.made("/api/v1/agents/join-tokens", {})["ca_fingerprint"] == ""
