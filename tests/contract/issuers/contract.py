"""What every issuer has to hold, one class for the port and one for each ability.

A connector's test class inherits those that its class line names and gives the fixture `issuer`:

    class TestVaultIssuer(IssuerContract, RevokesContract, ShowsChainContract): ...
"""

from datetime import timedelta
from typing import Any, Final, Protocol

import pytest
from attrs import evolve
from cryptography import x509

from certctl_core.errors import NotFound, UpstreamRejected
from certctl_core.models.certificates import RevocationReason
from certctl_core.models.delegates import Purpose
from certctl_core.pki import crl, csr, keys, names, paths, reading, serials
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, RevokedEntry
from certctl_core.ports.issuer import (
    CertifiesDelegates,
    HasAuthorities,
    Issued,
    Issuer,
    IssueRequest,
    Ordered,
    Polls,
    Revokes,
    ShowsChain,
    SignsCrls,
)
from tests import plans


class Chained(Issuer, ShowsChain, Protocol):
    """An issuer that shows its chain."""


ABILITIES: Final[dict[type, str]] = {
    Polls: "poll",
    Revokes: "revoke",
    ShowsChain: "chain",
    HasAuthorities: "authorities",
    SignsCrls: "sign_crl",
    CertifiesDelegates: "certify_delegate",
}


def request(kind: KeyKind = KeyKind.ECDSA_P256, idempotency_key: str = "", **changes: Any) -> IssueRequest:
    """An order as the issuing door makes it: the CSR of a fresh name, and the plan that goes with it."""
    private_key = plans.key(kind)
    sans = ["b.example.com", "192.0.2.1"]
    serial = serials.new_serial()
    plan = plans.plan(
        sans=names.names_of("a.example.com", sans),
        public_key=private_key.public_key(),
        serial_number=serial,
        must_staple=False,
    )
    return IssueRequest(
        idempotency_key or f"attempt-{serial}", csr.build(private_key, "a.example.com", sans), evolve(plan, **changes)
    )


def issued(issuer: Issuer, asked: IssueRequest) -> Issued:
    """The answer to an order, waiting for one that comes later."""
    answer = issuer.issue(asked)
    for _ in range(10):
        if isinstance(answer, Issued):
            return answer
        assert isinstance(issuer, Polls), "an issuer that takes orders must be able to say what became of them"
        answer = issuer.poll(answer.order_id)
    raise AssertionError("the order is never answered")


class IssuerContract:
    """The one duty."""

    @pytest.mark.parametrize("kind", [KeyKind.ECDSA_P256, KeyKind.RSA_2048, KeyKind.ED25519])
    def test_a_certificate_is_for_the_key_and_the_names_ordered(self, issuer: Issuer, kind: KeyKind) -> None:
        asked = request(kind)
        answer = issued(issuer, asked)
        assert keys.same_key(answer.certificate, asked.csr)
        assert names.same_names(reading.general_names(answer.certificate), asked.plan.sans)
        assert reading.facts(answer.certificate).common_name == asked.plan.common_name

    def test_a_certificate_is_valid_now_and_no_longer_than_ordered(self, issuer: Issuer) -> None:
        asked = request()
        known = reading.facts(issued(issuer, asked).certificate)
        assert known.not_before <= plans.NOW < known.not_after <= asked.plan.not_after
        assert not known.is_ca

    def test_the_same_order_again_gives_the_same_certificate(self, issuer: Issuer) -> None:
        asked = request()
        assert issued(issuer, asked).certificate == issued(issuer, asked).certificate

    def test_another_order_gives_another_certificate(self, issuer: Issuer) -> None:
        first, second = (issued(issuer, request()).certificate for _ in range(2))
        assert first.serial_number != second.serial_number

    def test_the_chain_leads_upwards_from_the_leaf(self, issuer: Issuer) -> None:
        answer = issued(issuer, request())
        assert paths.chain_problems((answer.certificate, *answer.chain)) == ()
        assert answer.certificate not in answer.chain

    def test_what_cannot_be_signed_is_rejected_for_good(self, issuer: Issuer) -> None:
        weak = plans.weak_rsa()
        with pytest.raises(UpstreamRejected):
            issued(issuer, evolve(request(), plan=plans.plan(public_key=weak.public_key())))

    def test_abilities_are_in_the_class_line(self, issuer: Issuer) -> None:
        line = type(issuer).__mro__
        assert Issuer in line
        for ability, method in ABILITIES.items():
            assert (ability in line) == hasattr(issuer, method)


class ShowsChainContract:
    """Where its leafs lead."""

    def test_leafs_are_verified_with_the_chain_shown(self, issuer: Chained) -> None:
        shown = issuer.chain()
        answer = issued(issuer, request())
        above = reading.chain_above(answer.certificate, [*answer.chain, *shown])
        assert above
        assert above[-1] == shown[-1]
        assert reading.is_issued_by(shown[-1], shown[-1])

    def test_the_chain_shown_is_in_order_and_stays_the_same(self, issuer: Chained) -> None:
        shown = issuer.chain()
        assert paths.chain_problems(shown) == ()
        assert tuple(issuer.chain()) == tuple(shown)


class HasAuthoritiesContract:
    """CAs of its own, by whose key identifiers leafs, CRLs and OCSP answers go together."""

    def test_the_first_authority_is_the_one_that_signs_leafs(self, issuer: Any) -> None:
        known = reading.facts(issued(issuer, request()).certificate)
        first = issuer.authorities()[0]
        assert first.key_identifier == known.authority_key_identifier
        assert first.certificate == first.chain[0]

    def test_every_authority_signs_its_own_crl(self, issuer: Any) -> None:
        for one in issuer.authorities():
            plan = CrlPlan(7, plans.NOW, plans.NOW + timedelta(days=1), [])
            assert crl.is_signed_by(crl.read(issuer.sign_crl(plan, one.key_identifier)), one.certificate)

    def test_an_authority_it_does_not_have_signs_nothing(self, issuer: Any) -> None:
        plan = CrlPlan(7, plans.NOW, plans.NOW + timedelta(days=1), [])
        with pytest.raises(NotFound):
            issuer.sign_crl(plan, b"\0" * 20)


class SignsCrlsContract:
    """CRLs from our records, believed by whoever believes the leafs."""

    def test_a_crl_says_what_was_revoked_and_is_signed_by_the_leafs_issuer(self, issuer: Any) -> None:
        leaf = issued(issuer, request()).certificate
        serial = reading.facts(leaf).serial_number
        entry = RevokedEntry(serial, plans.NOW, RevocationReason.KEY_COMPROMISE)
        plan = CrlPlan(7, plans.NOW, plans.NOW + timedelta(days=1), crl.entries([entry]))
        signed = crl.read(issuer.sign_crl(plan))
        assert crl.entry_of(signed, serial) == entry
        assert crl.number_of(signed) == 7
        assert signed.issuer == leaf.issuer
        assert crl.is_signed_by(signed, issuer.chain()[0])


class CertifiesDelegatesContract:
    """Services of the control plane, certified by the CA that they speak for."""

    @pytest.mark.parametrize("purpose", list(Purpose), ids=lambda purpose: str(purpose.value))
    def test_a_delegate_is_certified_by_the_ca_that_was_named(self, issuer: Any, purpose: Purpose) -> None:
        plan = plans.delegate(purpose)
        for authority in issuer.authorities():
            made = issuer.certify_delegate(plan, authority.key_identifier)
            made.verify_directly_issued_by(authority.certificate)
            assert keys.same_key(made, plan.public_key)
            assert f"{made.serial_number:x}" == plan.serial_number
            assert made.not_valid_after_utc == min(plan.not_after, authority.certificate.not_valid_after_utc)

    def test_without_a_name_it_is_by_the_ca_that_signs_leafs(self, issuer: Any) -> None:
        made = issuer.certify_delegate(plans.delegate(Purpose.OCSP))
        assert reading.is_issued_by(made, issuer.authorities()[0].certificate)

    def test_a_ca_that_the_issuer_does_not_have_certifies_nothing(self, issuer: Any) -> None:
        with pytest.raises(NotFound):
            issuer.certify_delegate(plans.delegate(Purpose.OCSP), bytes(20))


class RevokesContract:
    """Telling the CA."""

    def test_revoking_twice_is_revoking(self, issuer: Any) -> None:
        leaf: x509.Certificate = issued(issuer, request()).certificate
        for _ in range(2):
            assert issuer.revoke(leaf, RevocationReason.SUPERSEDED, plans.NOW) is None


class PollsContract:
    """Orders answered later."""

    def test_an_answered_order_stays_answered(self, issuer: Any) -> None:
        asked = request()
        ordered = issuer.issue(asked)
        assert isinstance(ordered, Ordered)
        final = issued(issuer, asked)
        assert issuer.poll(ordered.order_id) == final

    def test_an_order_nobody_made_is_rejected(self, issuer: Any) -> None:
        with pytest.raises(UpstreamRejected):
            issuer.poll("no such order")
