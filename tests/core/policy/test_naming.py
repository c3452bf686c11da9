"""What imported certificates are called."""

from datetime import UTC, datetime

import pytest

from certctl_core.errors import Invalid
from certctl_core.pki import uploads
from certctl_core.policy.naming import LONGEST, NameTemplate
from tests.strangers import DAY, certificate, pem

UPLOAD = uploads.read(
    pem(certificate("www.example.org", serial=0xAB, begins=datetime(2026, 1, 2, tzinfo=UTC), life=DAY))
)
FINGERPRINT = UPLOAD.facts.fingerprint_sha256


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{cn}", "www.example.org"),
        ("old/{cn} {serial}", "old/www.example.org ab"),
        ("{issuer}, {not_after}", "Stranger CA, 2026-01-03"),
        ("{source}", "/etc/ssl/www.pem"),
        pytest.param("{fingerprint}", FINGERPRINT, id="fingerprint"),
        ("{cn}{cn}", "www.example.orgwww.example.org"),
        ("web", "web"),
    ],
)
def test_places_are_filled_in(template: str, wanted: str) -> None:
    assert NameTemplate.of(template).choices(UPLOAD, "/etc/ssl/www.pem")[0] == wanted


def test_what_is_taken_gets_a_part_of_the_fingerprint_or_all_of_it() -> None:
    assert NameTemplate.of("{cn}").choices(UPLOAD, "") == (
        "www.example.org",
        f"www.example.org-{FINGERPRINT[:8]}",
        f"www.example.org-{FINGERPRINT}",
    )


def test_names_are_never_empty_too_long_or_unprintable() -> None:
    assert NameTemplate.of("{source}").choices(UPLOAD, "")[0] == "www.example.org"
    assert NameTemplate.of("{source}").choices(UPLOAD, "a\x1b[2Jb")[0] == "a?[2Jb"
    assert {len(name) for name in NameTemplate.of("{source}").choices(UPLOAD, "x" * 999)} == {LONGEST}


@pytest.mark.parametrize("template", ["", "  ", "{name}", "{cn", "cn}", "{}", "{cn!r}", "{cn.__class__}", "x" * 256])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(Invalid) as refusal:
        NameTemplate.of(template)
    assert [problem.field for problem in refusal.value.fields] == ["name_template"]


def test_braces_in_what_is_filled_in_are_text() -> None:
    assert NameTemplate.of("{source}").choices(UPLOAD, "{serial}")[0] == "{serial}"
