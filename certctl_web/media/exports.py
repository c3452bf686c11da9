"""Exported certificates on the wire."""

from typing import Annotated, Self

from attrs import frozen

from certctl_core.models.certificates import CertificateVersion
from certctl_core.pki import bundle
from certctl_web.media.bounds import Length
from certctl_web.media.reading import Accepts


@frozen(kw_only=True)
class ExportQuery:
    """`download` asks for the file itself."""

    download: bool = False


@frozen(kw_only=True)
class ExportPEM:
    """A certificate, the certificates above it, and all of them one after the other, in PEM."""

    cert_pem: str
    chain_pem: str
    full_pem: str

    @classmethod
    def of(cls, version: CertificateVersion) -> Self:
        leaf, chain = bundle.to_pem(version.certificate), bundle.to_pem(*version.chain)
        return cls(cert_pem=leaf, chain_pem=chain, full_pem=leaf + chain)


@frozen(kw_only=True)
class ExportPKCS12(Accepts):
    """Without a password, or with an empty one, the file is not encrypted. Java reads no password that is not ASCII."""

    password: Annotated[str, Length(0, 1024)] = ""
