"""pkilint and zlint: what they find in something that was signed.

Both tell how bad a finding is. What is worse than a remark needs a written reason in `test_linters`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import document, finding_filter, loader, pkix, validation
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain_linter
from pkilint.cabf import serverauth
from pkilint.pkix import certificate, crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity

from tests.interop.emitted import Artefact, Form
from tests.interop.peers import Peer


@frozen
class Finding:
    """What a linter says of an artefact. `code` is its own name for the rule."""

    code: str
    words: str
    what: str

    def __str__(self) -> str:
        return f"{self.code}: {self.words or 'no words'} ({self.what})"


# pkilint


@cache
def _certificate_rules() -> validation.ValidatorContainer:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _crl_rules() -> validation.ValidatorContainer:
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@cache
def _ocsp_rules() -> validation.ValidatorContainer:
    return ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )


_LOADERS: Final = {
    Form.CERTIFICATE: (loader.RFC5280CertificateDocumentLoader(), _certificate_rules),
    Form.CRL: (loader.RFC5280CertificateListDocumentLoader(), _crl_rules),
    Form.OCSP: (loader.RFC6960OCSPResponseDocumentLoader(), _ocsp_rules),
}


def pkilint(artefact: Artefact) -> Iterator[Finding]:
    """By the rules of RFC 5280 and RFC 6960, and those for a certificate beside that of its issuer."""
    load, rules = _LOADERS[artefact.form]
    root = load.load_document(artefact.der, artefact.what).root
    yield from _worth_mentioning(artefact.what, rules().validate(root))
    if artefact.form is Form.CERTIFICATE:
        yield from _beside_its_issuer(artefact)


def _beside_its_issuer(artefact: Artefact) -> Iterator[Finding]:
    together: dict[str, document.Document] = {}
    load = loader.RFC5280CertificateDocumentLoader()
    signer = artefact.signer.public_bytes(Encoding.DER)
    for role, der in (("issuer", signer), ("subject", artefact.der)):
        together[role] = load.load_document(der, artefact.what, role, together)
    decode = chain_linter.create_decoder_validation_container()
    for one in together.values():
        yield from _worth_mentioning(artefact.what, decode.validate(one.root))
    rules = chain_linter.create_issuer_validation_container(), chain_linter.create_subject_validation_container()
    for rule, role in zip(rules, together, strict=True):
        yield from _worth_mentioning(artefact.what, rule.validate(together[role].root))


def pkilint_for_browsers(artefact: Artefact) -> Iterator[Finding]:
    """By the Baseline Requirements of the CA/Browser Forum, whose rules take the place of some of RFC 5280."""
    found = loader.RFC5280CertificateDocumentLoader().load_document(artefact.der, artefact.what)
    kind = serverauth.determine_certificate_type(found)
    rules = certificate.create_pkix_certificate_validator_container(
        serverauth.create_decoding_validators(), serverauth.create_validators(kind)
    )
    filters = serverauth.create_serverauth_finding_filters(kind)
    results, _ = finding_filter.filter_results(filters, rules.validate(found.root))
    yield from _worth_mentioning(artefact.what, results)


def _worth_mentioning(what: str, results: Iterable[validation.ValidationResult]) -> Iterator[Finding]:
    for result in results:
        for described in result.finding_descriptions:
            if described.finding.severity <= ValidationFindingSeverity.WARNING:
                yield Finding(described.finding.code, described.message or "", what)


# zlint


def zlint(program: Peer, artefacts: Iterable[Artefact], folder: Path, sources: Sequence[str] = ()) -> Iterator[Finding]:
    """By the rules of these sources, or all it has for certificates and CRLs; of OCSP responses it knows nothing."""
    named = {folder / f"{number}.der": one for number, one in enumerate(artefacts) if one.form is not Form.OCSP}
    for path, artefact in named.items():
        path.write_bytes(artefact.der)
    chosen = ("-includeSources", ",".join(sources)) if sources else ()
    said = program.run(*chosen, "-format", "der", *named, folder=folder).splitlines()
    for artefact, line in zip(named.values(), said, strict=True):
        verdicts: dict[str, Any] = json.loads(line)
        assert verdicts, f"zlint has no rule for {artefact.what}"
        for code, verdict in verdicts.items():
            if verdict["result"] in ("warn", "error", "fatal"):
                yield Finding(code, verdict.get("details", ""), artefact.what)
