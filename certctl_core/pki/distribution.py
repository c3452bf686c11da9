"""Where CRLs are: the URLs in the distribution points of leafs (RFC 5280 section 4.2.1.13), written and read.

    /.well-known/pki/crl/{issuer}                 of the issuer's first CA, the part that names no part
    /.well-known/pki/crl/{issuer}/p3              of the same CA, part 3
    /.well-known/pki/crl/{issuer}/{ca}            of the CA with this key identifier (hex)
    /.well-known/pki/crl/{issuer}/{ca}-p3         of the same CA, part 3

With `/delta` behind it each is the delta. What a leaf says stays: a URL that was ever in one is served for as long as
the leaf lives.
"""

import re
from typing import Final

from attrs import frozen

ROOT: Final = "/.well-known/pki/crl/"
_PLACE: Final = re.compile(r"(?:(?P<authority>(?:[0-9a-f]{2})+)(?:-p(?P<of>[1-9]\d{0,3}))?|p(?P<part>[1-9]\d{0,3}))")


@frozen
class Place:
    """Which CRL of an issuer. Without an `authority`, that of the issuer's first CA."""

    authority: str | None = None
    partition: int = 0

    @property
    def text(self) -> str:
        """The last segment of the URL, empty when there is none."""
        part = f"p{self.partition}" if self.partition else ""
        return "-".join(word for word in (self.authority or "", part) if word)


def url(public_url: str, issuer_id: str, place: Place = Place(), *, delta: bool = False) -> str:
    """The URL of a CRL below the address of the control plane."""
    last = f"/{place.text}" if place.text else ""
    return f"{public_url}{ROOT}{issuer_id}{last}{'/delta' if delta else ''}"


def place(text: str) -> Place | None:
    """The place that the last segment of a URL names; None when it names none."""
    if not text:
        return Place()
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    return Place(found["authority"], int(found["of"] or found["part"] or 0))


def named_by(address: str, issuer_id: str) -> Place | None:
    """The CRL of the issuer that a URL in a leaf means; None when it is none of ours."""
    _, found, rest = address.partition(f"{ROOT}{issuer_id}")
    if not found or (rest and not rest.startswith("/")):
        return None
    return place(rest[1:])


def of_authority(address: str, authority: str) -> str:
    """The same URL for another CA of its issuer; one that is not ours stays as it is."""
    public_url, _, rest = address.partition(ROOT)
    issuer_id = rest.partition("/")[0]
    where = named_by(address, issuer_id) if issuer_id else None
    return address if where is None else url(public_url, issuer_id, Place(authority, where.partition))
