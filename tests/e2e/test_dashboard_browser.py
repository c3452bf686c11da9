"""The dashboard in a real browser, over TLS: looked at, worked with by mouse and by keyboard, in both themes.

Every page is watched for what the content security policy stopped, for scripts that failed and for requests that went
wrong; a test in which any of it happened has failed.
"""

import os
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from attrs import define, field
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect, sync_playwright

from certctl_adapters.clock import SystemClock
from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import SYSTEM, Role
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.usecases import access
from certctl_web.app import Application, create_app
from certctl_web.dashboard import REFRESH_SECONDS
from certctl_web.options import Options
from tests.authority import Authority
from tests.e2e.contrast import colour_of, luminance, weak_texts
from tests.interop.peers import peer
from tests.web import company
from tests.web.api import make_ports

pytestmark = pytest.mark.e2e

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = [360, 820, 1440]
THEMES = ["light", "dark"]
PAGES = [
    "/",
    "/certificates",
    "/certificates/cert-shop",
    "/certificates/cert-shop/revoke",
    "/jobs",
    "/agents",
    "/issuers",
    "/audit",
    "/docs",
    "/certificates/unknown",
]


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a connection; the handshake happens there, so that a slow client holds up nobody."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, app: Application, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.set_app(app)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*Authority().leaf("127.0.0.1").write(folder))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in mid-sentence is no error of ours."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is inherited
        pass


@define
class Site:
    """A running dashboard with a full company behind it."""

    address: str
    store: MemoryStore
    keys: dict[Role, str]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    clock, store = SystemClock(), MemoryStore()
    company.fill(store, clock.now())
    ports = make_ports(store.work, clock)
    keys = {role: access.create_key(ports, SYSTEM, role.value, role).plain for role in (Role.OPERATOR, Role.VIEWER)}
    app = create_app(ports, Options(rate=None, record_calls=False))
    server = _Server(app, tmp_path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield Site(f"https://127.0.0.1:{server.server_address[1]}", store, keys)
    server.shutdown()
    server.server_close()
    thread.join(5)
    app.close()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    chromium = peer("chromium")
    browser = playwright.chromium.launch(executable_path=chromium.program, args=QUIET)
    yield browser
    browser.close()


@define
class Visitor:
    """A person in front of a page. `complaints` is what the browser had to say."""

    site: Site
    context: BrowserContext
    page: Page
    complaints: list[str] = field(factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.site.address + path)

    def sign_in(self, role: Role = Role.OPERATOR) -> None:
        self.open("/login")
        self.page.get_by_label("API key").fill(self.site.keys[role])
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "status of 404" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def visitors(site: Site, chromium: Browser) -> Iterator[Any]:
    """Opens browsers for visitors, and in the end asks each for complaints."""
    opened: list[Visitor] = []

    def come(width: int = 1440, theme: Any = "light", **more: Any) -> Visitor:
        context = chromium.new_context(
            ignore_https_errors=True, viewport={"width": width, "height": 900}, color_scheme=theme, **more
        )
        context.set_default_timeout(10_000)
        visitor = Visitor(site, context, context.new_page())
        visitor.page.on("console", lambda message: visitor.heard(message))  # noqa: PLW0108 - playwright marks methods
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        opened.append(visitor)
        return visitor

    yield come
    for visitor in opened:
        visitor.context.close()
    assert [visitor.complaints for visitor in opened if visitor.complaints] == []


@pytest.fixture
def visitor(visitors: Any) -> Visitor:
    made: Visitor = visitors()
    return made


# --- The work -----------------------------------------------------------------------------------------------------


def test_somebody_logs_in_looks_and_renews(visitor: Visitor) -> None:
    visitor.open("/certificates/cert-shop")
    page = visitor.page
    page.get_by_label("API key").fill("cck_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    visitor.complaints.clear()  # the browser mentions the 401
    page.get_by_label("API key").fill(visitor.site.keys[Role.OPERATOR])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="shop", exact=True)).to_be_visible()
    page.get_by_role("button", name="Renew now").click()
    expect(page.get_by_role("status").first).to_contain_text("Renewal begun")
    expect(page.get_by_role("button", name="Renewing…")).to_be_disabled()
    with visitor.site.store.work() as work:
        assert work.certificates.get("cert-shop").status is CertificateStatus.RENEWAL_IN_PROGRESS
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to certctl")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("API key")).to_be_visible()


def test_the_session_is_hidden_from_scripts(visitor: Visitor) -> None:
    visitor.sign_in()
    (cookie,) = [one for one in visitor.context.cookies() if one["name"] == "__Host-certctl"]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Strict", "/")
    assert "certctl" not in visitor.page.evaluate("document.cookie")


def test_the_policy_stops_what_somebody_smuggles_in(visitor: Visitor) -> None:
    visitor.sign_in()
    smuggled = """() => {
        const script = document.createElement('script');
        script.textContent = 'window.caught = true';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.caught = true">');
        document.body.insertAdjacentHTML('beforeend', '<i id="painted" style="color: rgb(1, 2, 3)"></i>');
    }"""
    visitor.page.evaluate(smuggled)
    visitor.page.wait_for_timeout(200)
    assert visitor.page.evaluate("window.caught") is None
    assert visitor.page.locator("#painted").evaluate("e => getComputedStyle(e).color") != "rgb(1, 2, 3)"
    assert any("Content Security Policy" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_revoking_is_confirmed_in_a_dialog_that_the_keyboard_can_leave(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.open("/certificates/cert-shop")
    page = visitor.page
    opener = page.get_by_role("link", name="Revoke…")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Revoke shop?")
    expect(dialog).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    dialog.get_by_label("Reason").select_option("keyCompromise")
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status").first).to_contain_text("Revoked.")
    expect(page.get_by_text("The private key was exposed")).to_be_visible()


def test_a_page_refreshes_itself_and_keeps_what_was_opened(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.open("/jobs")
    page = visitor.page
    expect(page.get_by_text("Awaiting CSR")).to_have_count(2)  # the filter's option and the job
    with visitor.site.store.work() as work:
        job = work.jobs.get("job-0002")
        company.Company(work, SystemClock().now(), company.leaf()).job(
            77,
            work.certificates.get(job.certificate_id),
            JobStatus.RUNNING,
            ago=timedelta(0),
            requested_by="the-refresh",
        )
    page.locator("details").first.locator("summary").click()
    page.evaluate("window.sameDocument = true")
    retry = page.get_by_role("button", name="Retry job job-0002")
    retry.focus()
    expect(page.get_by_text("the-refresh")).to_be_visible(timeout=(REFRESH_SECONDS + 5) * 1000)
    assert page.evaluate("window.sameDocument") is True
    assert not page.locator("details").first.evaluate("e => e.open")
    expect(retry).to_be_focused()


def test_a_hidden_page_does_not_ask(visitor: Visitor) -> None:
    visitor.sign_in()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    visitor.page.wait_for_timeout((REFRESH_SECONDS + 1) * 1000)
    assert [url for url in asked if "/static/" not in url] == []


def test_searching_narrows_the_list_while_typing(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.open("/certificates")
    page = visitor.page
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("BILL")
    expect(page.get_by_text("1 certificate", exact=True)).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert page.url.endswith("/certificates?q=BILL")
    page.get_by_label("Status").select_option("Active")
    expect(page.get_by_text("No certificate matches")).to_be_visible()
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("BILL")


def test_a_lost_server_is_mentioned_and_forgotten(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.page
    page.route("**/*", lambda route: route.abort())
    expect(page.get_by_text("No answer from the server")).to_be_visible(timeout=(REFRESH_SECONDS + 5) * 1000)
    page.unroute("**/*")
    expect(page.get_by_text("No answer from the server")).to_be_hidden(timeout=(REFRESH_SECONDS + 5) * 1000)
    visitor.complaints.clear()


def test_an_ended_session_leads_to_the_log_in(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.context.clear_cookies()
    expect(visitor.page.get_by_label("API key")).to_be_visible(timeout=(REFRESH_SECONDS + 5) * 1000)
    visitor.complaints.clear()  # the browser mentions the 401


# --- By keyboard, without scripts ---------------------------------------------------------------------------------


def test_the_first_tab_skips_to_the_content(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_every_control_can_be_reached_and_shows_that_it_is(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.open("/certificates/cert-shop")
    page = visitor.page
    wanted = page.locator("a[href]:visible, button:visible:enabled, summary:visible, select:visible").count()
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => {
                const e = document.activeElement, style = getComputedStyle(e);
                const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
                const place = [...document.querySelectorAll('*')].indexOf(e);
                return [place, e.outerHTML.slice(0, 300), outlined || e === document.body];
            }"""
        )
        assert seen[2], f"no focus ring on {seen[1]}"
        reached.add(seen[0])
    assert len(reached) >= wanted


def test_the_navigation_says_where_one_is(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.page.get_by_role("link", name="Jobs", exact=True).click()
    expect(visitor.page.locator("nav [aria-current=page]")).to_have_text("Jobs")
    expect(visitor.page).to_have_title("Jobs · certctl")


def test_everything_works_without_scripts(visitors: Any) -> None:
    visitor: Visitor = visitors(java_script_enabled=False)
    visitor.sign_in()
    page = visitor.page
    visitor.open("/certificates")
    page.get_by_role("searchbox").fill("shop")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="shop", exact=True).click()
    page.get_by_role("button", name="Deploy to nginx on edge-1").click()
    expect(page.get_by_role("status").first).to_contain_text("Deployment to 1 target queued")
    page.get_by_role("link", name="Revoke…").click()
    page.get_by_label("Reason").select_option("superseded")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status").first).to_contain_text("Revoked.")


# --- For everybody's eyes -----------------------------------------------------------------------------------------


def test_the_theme_follows_the_system_until_somebody_chooses(visitors: Any) -> None:
    visitor: Visitor = visitors(theme="dark")
    visitor.sign_in()
    page = visitor.page
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch to the light theme").click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance(colour_of(dark)) < 0.05
    assert luminance(colour_of(light)) > 0.8
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_stands_out_from_its_ground(visitors: Any, theme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, and 3 to 1 for large text."""
    visitor: Visitor = visitors(theme=theme)
    visitor.open("/login")
    weak = weak_texts(visitor.page, "/login")
    visitor.sign_in()
    for path in PAGES:
        visitor.open(path)
        visitor.page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
        weak += weak_texts(visitor.page, path)
    assert weak == []


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_every_width(visitors: Any, width: int) -> None:
    visitor: Visitor = visitors(width=width)
    visitor.sign_in()
    for path in PAGES:
        visitor.open(path)
        visitor.page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, path
        _save_picture(visitor.page, f"{path.strip('/').replace('/', '-') or 'overview'}-{width}")


def test_controls_and_headings_have_names_and_order(visitor: Visitor) -> None:
    visitor.sign_in()
    for path in PAGES:
        visitor.open(path)
        nameless = visitor.page.evaluate(
            """() => [...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, dialog')]
                .filter(e => e.checkVisibility() && !e.closest('[aria-hidden=true]'))
                .filter(e => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()
                               || e.getAttribute('aria-labelledby')))
                .map(e => e.outerHTML.slice(0, 120))"""
        )
        assert nameless == [], path
        levels = visitor.page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3')].filter(e => e.checkVisibility()).map(e => +e.tagName[1])"
        )
        assert levels[0] == 1, path
        assert all(after - before <= 1 for before, after in pairwise(levels)), path
        pictures = visitor.page.evaluate("[...document.querySelectorAll('img:not([alt])')].length")
        assert pictures == 0
        silent = visitor.page.evaluate(
            "[...document.querySelectorAll('svg:not([aria-hidden=true]):not([role=img])')]"
            ".filter(e => !e.closest('[aria-hidden=true]')).length"
        )
        assert silent == 0, path


def test_touch_targets_on_a_phone_are_large_enough(visitors: Any) -> None:
    """WCAG 2.2, 2.5.8: 24 by 24 pixels."""
    visitor: Visitor = visitors(width=390, has_touch=True)
    visitor.sign_in()
    for path in PAGES:
        visitor.open(path)
        small = visitor.page.evaluate(
            """() => [...document.querySelectorAll('button, .button, nav.nav a, select, input:not([type=hidden])')]
                .filter(e => e.checkVisibility())
                .filter(e => e.getBoundingClientRect().height < 24 || e.getBoundingClientRect().width < 24)
                .map(e => e.outerHTML.slice(0, 120))"""
        )
        assert small == [], path


def _save_picture(page: Page, name: str) -> None:
    """For people to look at, where they said they want them."""
    folder = os.environ.get("CERTCTL_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
