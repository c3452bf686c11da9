"""Logging in to the dashboard, and forms that did not come from it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from certctl_core.models.access import SYSTEM, Principal, Role
from certctl_core.models.certificates import CertificateStatus
from certctl_core.usecases import access, agents
from certctl_core.usecases.agents import RegisterAgent
from certctl_web.dashboard.answers import NOTICE_COOKIE, Notice
from certctl_web.dashboard.forms import FORM_COOKIE, own_path
from certctl_web.dashboard.guard import SESSION_COOKIE
from certctl_web.options import Options
from tests.web import company
from tests.web.api import GIVEN, KEYS
from tests.web.browser import FROM_HERE, Browser, open_browser

ADMIN = Principal("root", Role.ADMIN)


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = open_browser()
    company.fill(made.store)
    yield made
    made.app.close()


def log_in(browser: Browser, key: str, **fields: str) -> int:
    """The status of an attempt, before redirects."""
    form = browser.get("/login").form("/login")
    return browser.ask("POST", "/login", {**form.fields, "api_key": key, **fields}, FROM_HERE).status


@pytest.mark.parametrize("cookie", ["\xe4", "a\x01b", "x" * 6000, '"'])
def test_a_cookie_that_is_not_ours_is_replaced(browser: Browser, cookie: str) -> None:
    browser.jar[FORM_COOKIE] = cookie
    assert browser.get("/login").status == 200
    assert len(browser.jar[FORM_COOKIE]) == 43


def test_a_key_opens_a_session_and_the_page_that_was_wanted(browser: Browser) -> None:
    form = browser.get("/certificates/cert-shop?x=1&y=2").form("/login")
    view = browser.submit(form, api_key=f" {browser.key(Role.VIEWER)} ")
    assert (view.status, view.path) == (200, "/certificates/cert-shop?x=1&y=2")


def test_the_session_cookie_belongs_to_this_host_and_to_no_script(browser: Browser) -> None:
    assert log_in(browser, browser.key(Role.OPERATOR)) == 303
    cookie = browser.set_cookies[SESSION_COOKIE]
    assert SESSION_COOKIE.startswith("__Host-")
    assert (cookie.secure, cookie.http_only, cookie.same_site) == (True, True, "Strict")
    assert cookie.path == "/"
    assert not cookie.domain
    assert cookie.max_age == access.SESSION_LIFE.total_seconds()


def test_a_cookie_is_dropped_with_the_attributes_it_was_set_with(browser: Browser) -> None:
    view = browser.sign_in()
    form = view.form("/logout")
    browser.ask("POST", "/logout", form.fields, FROM_HERE)
    cookie = browser.set_cookies[SESSION_COOKIE]
    assert (cookie.secure, cookie.http_only, cookie.path, cookie.value) == (True, True, "/", "")
    assert SESSION_COOKIE not in browser.jar


def test_the_cookie_is_not_what_the_store_keeps(browser: Browser) -> None:
    browser.sign_in()
    cookie = browser.jar[SESSION_COOKIE]
    with browser.store.work() as work:
        assert work.sessions.find(cookie, browser.clock.now()) is None
        assert work.sessions.find(access.digest(cookie), browser.clock.now()) is not None


def test_a_wrong_key_is_refused_in_words_and_opens_nothing(browser: Browser) -> None:
    form = browser.get("/login").form("/login")
    view = browser.submit(form, api_key="cck_wrong")
    assert view.status == 401
    assert "not valid" in view.text
    assert "cck_wrong" not in view.html
    assert SESSION_COOKIE not in browser.jar


def test_a_key_from_the_settings_is_told_where_it_belongs() -> None:
    made = open_browser(Options(given_keys=GIVEN, rate=None, record_calls=False))
    view = made.submit(made.get("/login").form("/login"), api_key=KEYS[Role.ADMIN])
    assert view.status == 401
    assert "opens the API only. Make one" in view.text
    made.app.close()


def test_an_agents_key_cannot_log_in(browser: Browser) -> None:
    registered = agents.register(browser.ports, ADMIN, RegisterAgent(name="web-9", hostname="web-9"))
    assert log_in(browser, registered.api_key) == 401


def test_a_revoked_key_ends_its_sessions(browser: Browser) -> None:
    made = access.create_key(browser.ports, SYSTEM, "mira", Role.OPERATOR)
    assert log_in(browser, made.plain) == 303
    assert browser.ask("GET", "/").status == 200
    access.revoke_key(browser.ports, ADMIN, made.record.id)
    assert browser.ask("GET", "/").status == 303


def test_a_session_ends_by_itself(browser: Browser) -> None:
    browser.sign_in()
    browser.clock.advance(access.SESSION_LIFE - timedelta(seconds=1))
    assert browser.ask("GET", "/").status == 200
    browser.clock.advance(timedelta(seconds=1))
    assert browser.ask("GET", "/").status == 303


def test_signing_out_ends_the_session_on_the_server(browser: Browser) -> None:
    view = browser.sign_in()
    cookie = browser.jar[SESSION_COOKIE]
    assert "Sign in to certctl" in browser.submit(view.form("/logout")).text
    assert SESSION_COOKIE not in browser.jar
    browser.jar[SESSION_COOKIE] = cookie
    assert browser.ask("GET", "/").status == 303


def test_signing_out_needs_our_form(browser: Browser) -> None:
    browser.sign_in()
    assert browser.ask("POST", "/logout", {}, FROM_HERE).status == 403
    assert browser.ask("GET", "/").status == 200


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x".replace("%0d%0a", "\r\n"),
        "evil",
        "",
        "/\t/evil.example",
        "//[",
        "/ü",
    ],
)
def test_the_wanted_page_never_leads_out_of_here(wanted: str) -> None:
    assert own_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/jobs?status=Failed", "/certificates/a%2Fb"])
def test_the_wanted_page_is_kept_when_it_is_ours(wanted: str) -> None:
    assert own_path(wanted) == wanted


# --- Forms from elsewhere -----------------------------------------------------------------------------------------


def test_the_log_in_form_is_bound_to_its_browser(browser: Browser) -> None:
    key = browser.key(Role.OPERATOR)
    form = browser.get("/login").form("/login")
    assert browser.ask("POST", "/login", {"api_key": key}, FROM_HERE).status == 403
    browser.jar.clear()
    assert browser.ask("POST", "/login", {**form.fields, "api_key": key}, FROM_HERE).status == 403
    browser.jar[FORM_COOKIE] = ""
    assert browser.ask("POST", "/login", {"csrf_token": "", "api_key": key}, FROM_HERE).status == 403
    assert SESSION_COOKIE not in browser.jar


RENEW = "/certificates/cert-shop/renew"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://falconframework.org"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://falconframework.org"},
        {"Origin": "null"},
        {},
    ],
)
def test_a_form_from_elsewhere_does_nothing_even_with_the_token(browser: Browser, headers: dict[str, str]) -> None:
    form = _form(browser)
    view = browser.ask("POST", RENEW, form, headers)
    assert view.status == 403
    assert "nothing was done" in view.text
    assert _is_untouched(browser)


@pytest.mark.parametrize("token", [None, "", "made-up", "ключ"])
def test_a_form_without_the_sessions_token_does_nothing(browser: Browser, token: str | None) -> None:
    form = _form(browser)
    del form["csrf_token"]
    view = browser.ask("POST", RENEW, form if token is None else {**form, "csrf_token": token}, FROM_HERE)
    assert view.status == 403
    assert _is_untouched(browser)


def test_the_token_of_another_session_does_not_do(browser: Browser) -> None:
    others = _form(browser)
    browser.jar.clear()
    browser.sign_in()
    assert browser.ask("POST", RENEW, others, FROM_HERE).status == 403
    assert _is_untouched(browser)


def test_an_older_browser_is_believed_by_its_origin(browser: Browser) -> None:
    form = _form(browser)
    view = browser.ask("POST", RENEW, form, {"Origin": "https://falconframework.org"})
    assert view.status == 303
    assert not _is_untouched(browser)


def test_a_form_that_is_too_large_is_not_read(browser: Browser) -> None:
    view = browser.ask("POST", RENEW, {**_form(browser), "x": "y" * 70_000}, FROM_HERE)
    assert view.status == 413
    assert _is_untouched(browser)


def test_a_link_from_elsewhere_finds_the_session_at_the_second_look(browser: Browser) -> None:
    """Browsers send a SameSite=Strict cookie only with requests that begin here."""
    again = browser.ask("GET", "/certificates/cert-shop", headers={"Sec-Fetch-Site": "cross-site"})
    assert again.status == 200
    assert '<meta http-equiv="refresh" content="0">' in again.html
    assert "shop.example.org" not in again.html
    assert browser.ask("GET", "/certificates/cert-shop", headers=FROM_HERE).status == 303


def test_a_notice_survives_its_cookie_and_rubbish_does_not_matter(browser: Browser) -> None:
    told = Notice("bad", "No – “why”? " * 300, "Try again.")
    kept = Notice.unpack(told.pack())
    assert kept is not None
    assert (kept.tone, kept.hint, kept.message[:12]) == ("bad", "Try again.", told.message[:12])
    assert len(told.pack()) < 4000
    browser.sign_in()
    for rubbish in ("rubbish", "e30=", "WzEsMiwzLDRd", "AAAA"):
        browser.jar[NOTICE_COOKIE] = rubbish
        assert browser.get("/").status == 200


def _form(browser: Browser) -> dict[str, str]:
    browser.sign_in()
    return browser.get("/certificates/cert-shop").form(RENEW).fields


def _is_untouched(browser: Browser) -> bool:
    with browser.store.work() as work:
        return work.certificates.get("cert-shop").status is CertificateStatus.ACTIVE
