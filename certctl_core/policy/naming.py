"""What an imported certificate is called: a template filled in with what the certificate says."""

import re
from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from certctl_core.errors import Invalid
from certctl_core.pki import names, uploads
from certctl_core.pki.uploads import Upload

LONGEST: Final = 255
MOST_OF_TEMPLATE: Final = 255
_PLACE: Final = re.compile(r"{([^{}]*)}")
_PLACES: Final = ("cn", "serial", "fingerprint", "issuer", "not_after", "source")


@frozen
class NameTemplate:
    """A text with places such as `{cn}`. Use `of`."""

    text: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises `Invalid` for a place that is none."""
        unknown = [place for place in _PLACE.findall(text) if place not in _PLACES]
        known = ", ".join(f"{{{place}}}" for place in _PLACES)
        if unknown:
            raise Invalid.field("name_template", f"has {{{unknown[0]}}}, which is none of {known}")
        if {"{", "}"} & set(_PLACE.sub("", text)):
            raise Invalid.field("name_template", f"has a brace that belongs to none of {known}")
        if not text.strip() or len(text) > MOST_OF_TEMPLATE:
            raise Invalid.field("name_template", f"must have 1 to {MOST_OF_TEMPLATE} characters")
        return cls(text)

    def choices(self, upload: Upload, source: str) -> tuple[str, ...]:
        """What it may be called, best first: as the template says, and with a part and with all of its fingerprint
        after that. `source` is where it was found."""
        facts = upload.facts
        values: Mapping[str, str] = {
            "cn": upload.common_name,
            "serial": facts.serial_number,
            "fingerprint": facts.fingerprint_sha256,
            "issuer": names.common_name_of(upload.certificate.issuer) or facts.issuer,
            "not_after": f"{facts.not_after:%Y-%m-%d}",
            "source": source,
        }
        filled = uploads.shown(_PLACE.sub(lambda place: values[place[1]], self.text)) or upload.common_name
        endings = ("", f"-{facts.fingerprint_sha256[:8]}", f"-{facts.fingerprint_sha256}")
        return tuple(f"{filled[: LONGEST - len(ending)].rstrip()}{ending}" for ending in endings)
