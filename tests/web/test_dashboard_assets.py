"""Static files: names that change with their content, types, and nothing else served; pages without the library."""

import gzip
import hashlib
from collections.abc import Iterator

import pytest
from falcon import testing
from structlog.testing import capture_logs

from certctl_core.models.access import Role
from certctl_web import dashboard
from certctl_web.app import create_app
from certctl_web.dashboard.assets import HTMX, Assets
from certctl_web.options import Options
from tests.web import company
from tests.web.browser import Browser, open_browser

OWN = {"app.css": b"a{}", "app.js": b"1", "theme.js": b"2", "icon.svg": b"<svg/>"}


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = open_browser()
    yield made
    made.app.close()


def test_the_name_of_a_file_changes_with_its_content() -> None:
    one, other = Assets({"app.css": b"a{}"}), Assets({"app.css": b"b{}"})
    assert one.url("app.css") != other.url("app.css")
    assert one.url("app.css") == f"/static/app.{hashlib.sha256(b'a{}').hexdigest()[:12]}.css"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.css", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_files_are_kept_for_ever_and_are_what_they_say(browser: Browser, name: str, kind: str) -> None:
    url = Assets.packaged().url(name)
    plain = browser.ask("GET", url)
    assert plain.status == 200
    assert plain.headers["content-type"] == kind
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["x-content-type-options"] == "nosniff"
    packed = testing.TestClient(browser.app).simulate_get(url, headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert gzip.decompress(packed.content).decode() == plain.html
    assert len(packed.content) < len(plain.html) or name == "icon.svg"


@pytest.mark.parametrize(
    "path",
    [
        "/static/app.css",
        "/static/app.000000000000.css",
        "/static/../guard.py",
        "/static/..%2fguard.py",
        "/static/%2e%2e/%2e%2e/__init__.py",
        "/static/....//guard.py",
        "/static//etc/passwd",
        "/static/vendor/htmx.min.js",
        "/static/built-from",
        "/static/",
    ],
)
def test_nothing_else_is_served(browser: Browser, path: str) -> None:
    answer = browser.ask("GET", path)
    assert answer.status == 404
    assert "def " not in answer.html


def test_every_file_a_page_names_is_there(browser: Browser) -> None:
    view = browser.sign_in()
    named = {value for _, name, value in view.read().attributes if value.startswith("/static/")}
    assert len(named) >= 4
    assert {browser.ask("GET", url).status for url in named} == {200}


def test_without_the_library_pages_are_plain_and_the_log_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = dict(OWN)
    monkeypatch.setattr("certctl_web.dashboard.assets.packaged_files", lambda: everything)
    with capture_logs() as logs:
        assets = Assets.packaged()
    assert [line["log_level"] for line in logs] == ["warning"]
    assert HTMX in logs[0]["missing"]

    monkeypatch.setattr(dashboard, "packaged", lambda: assets)
    made = open_browser()
    browser = Browser(
        create_app(made.ports, Options(rate=None, record_calls=False)), made.ports, made.clock, made.store
    )
    company.fill(browser.store)
    browser.sign_in(Role.OPERATOR)
    for path in ("/", "/certificates", "/certificates/cert-shop", "/jobs", "/agents", "/audit"):
        view = browser.get(path)
        assert view.status == 200
        assert "hx-" not in view.html
        assert "htmx" not in view.html
    assert "1 certificate" in browser.get("/certificates?q=billing").text
    browser.app.close()
    made.app.close()


def test_with_the_library_nothing_is_logged() -> None:
    with capture_logs() as logs:
        Assets({**OWN, HTMX: b"htmx"})
    assert logs == []
