"""The interface as a page, and as text: everything the table says, and nothing from another host."""

import gzip
import json
import re
import subprocess
import sys

import pytest

from certctl_core import __version__
from certctl_web import openapi, reference
from certctl_web.operations import TABLE
from tests.web.api import Api, make_api


@pytest.fixture
def api() -> Api:
    return make_api()


def test_every_operation_and_every_schema_is_on_the_page(api: Api) -> None:
    reply = api.get("/docs", by=None)
    page = reply.content.decode()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for row in TABLE:
        assert f'id="{row.name}"' in page
        assert row.path.replace(":path}", "}") in page
    for name in openapi.document(TABLE, __version__)["components"]["schemas"]:
        assert f'id="kind-{name}"' in page


def test_the_page_asks_no_other_host_and_holds_no_script(api: Api) -> None:
    page = api.get("/docs", by=None).content.decode()
    assert not re.findall(r'(?:src|href)="(?:[a-z]+:)?//', page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    assert " style=" not in page
    assert "default-src 'none'" in api.get("/docs", by=None).headers["content-security-policy"]


def test_links_on_the_page_lead_somewhere(api: Api) -> None:
    page = api.get("/docs", by=None).content.decode()
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_the_page_is_packed_for_who_can_unpack_it(api: Api) -> None:
    packed = api.get("/docs", by=None, headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == api.get("/docs", by=None).content


def test_the_program_prints_the_document() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "certctl_web", "openapi"], capture_output=True, check=True, timeout=60
    )
    assert json.loads(printed.stdout) == json.loads(json.dumps(openapi.document(TABLE, __version__)))
    assert printed.stderr == b""


@pytest.mark.parametrize(
    ("schema", "words", "named"),
    [
        ({"type": "string"}, "string", ()),
        ({"type": "string", "format": "date-time"}, "date-time", ()),
        ({"$ref": "#/components/schemas/Job"}, "Job", ("Job",)),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Job"}}, "array of Job", ("Job",)),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer", ()),
        ({"anyOf": [{"type": "integer"}, {"$ref": "#/components/schemas/Job"}]}, "integer or Job", ("Job",)),
        ({}, "any value", ()),
    ],
)
def test_types_are_told_in_words(schema: dict[str, object], words: str, named: tuple[str, ...]) -> None:
    assert reference.type_of(schema) == (words, named)


def test_an_example_can_be_typed() -> None:
    entries = {
        entry.name: entry
        for section in reference.sections(openapi.document(TABLE, __version__))
        for entry in section.entries
    }
    assert reference.example(entries["get_health"]) == "curl --cacert ca.pem -X GET https://localhost:8443/health"
    assert '"name": …' in reference.example(entries["create_team"])
    assert "$CERTCTL_API_KEY" in reference.example(entries["create_team"])
