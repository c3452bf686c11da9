"""The dashboard's pages: what they show, to whom, and what a hostile name can do to them."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import UpstreamUnavailable
from certctl_core.models.access import Role
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.ports.store import Query, Where
from certctl_web.dashboard.answers import SECURITY_HEADERS
from certctl_web.options import Options
from tests.web import company
from tests.web.browser import FROM_HERE, Browser, View, open_browser

PAGES = ["/", "/certificates", "/jobs", "/agents", "/issuers", "/audit"]
OF_ONE = ["/certificates/cert-shop", "/certificates/cert-old-shop", "/certificates/cert-new-portal"]
QUESTIONS = ["/certificates/cert-shop/revoke"]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"


@pytest.fixture
def empty() -> Iterator[Browser]:
    made = open_browser()
    yield made
    made.app.close()


@pytest.fixture
def full(empty: Browser) -> Browser:
    company.fill(empty.store)
    return empty


def must_be_harmless(view: View) -> None:
    """Nothing in the page that the content security policy would have to stop."""
    for tag, name, value in view.read().attributes:
        assert name != "style", f"<{tag} style> on {view.path}"
        assert not name.startswith("on"), f"<{tag} {name}> on {view.path}"
        assert not value.strip().lower().startswith("javascript:"), f"<{tag} {name}> on {view.path}"
        assert not name.startswith("hx-on"), f"<{tag} {name}> on {view.path}"
        assert not (name == "hx-trigger" and "[" in value), f"{view.path} needs eval for {value}"
    assert not re.search(r"<script(?![^>]* src=)", view.html), f"an inline script on {view.path}"
    assert "<style" not in view.html


# --- Every page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_to_do_while_there_is_nothing(empty: Browser, path: str) -> None:
    empty.sign_in(Role.ADMIN)
    view = empty.get(path)
    assert view.status == 200
    must_be_harmless(view)
    assert re.search(
        r"(Three steps to|No certificates yet|No jobs yet|No agents yet|No issuers yet|Signed in)", view.text
    )


@pytest.mark.parametrize("path", [*PAGES, *OF_ONE, *QUESTIONS])
@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
def test_every_page_renders_a_full_company(full: Browser, path: str, role: Role) -> None:
    full.sign_in(role)
    view = full.get(path)
    assert view.status == 200
    assert view.read().title.endswith("· certctl")
    must_be_harmless(view)


@pytest.mark.parametrize("path", [*PAGES, *OF_ONE, *QUESTIONS, "/login", "/nothing-here", "/certificates/unknown"])
def test_every_answer_carries_the_security_headers(full: Browser, path: str) -> None:
    full.sign_in(Role.ADMIN)
    view = full.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert view.headers[name] == value
    policy = view.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


def test_a_page_has_one_first_heading_and_a_way_past_the_navigation(full: Browser) -> None:
    full.sign_in(Role.ADMIN)
    for path in [*PAGES, *OF_ONE, *QUESTIONS]:
        html = full.get(path).html
        assert len(re.findall(r"<h1[ >]", html)) == 1, path
        assert 'href="#main"' in html
        assert 'lang="en"' in html


def test_ids_are_unique_and_labels_lead_to_fields(full: Browser) -> None:
    full.sign_in(Role.ADMIN)
    for path in [*PAGES, *OF_ONE, *QUESTIONS]:
        attributes = full.get(path).read().attributes
        ids = [value for _, name, value in attributes if name == "id"]
        assert len(ids) == len(set(ids)), path
        wanted = {
            part
            for tag, name, value in attributes
            if name in ("aria-labelledby", "aria-describedby") or (tag, name) == ("label", "for")
            for part in value.split()
        }
        assert wanted <= set(ids), path


def test_hostile_names_stay_text(full: Browser) -> None:
    with full.store.work() as work:
        shop = work.certificates.lock("cert-shop")
        work.certificates.save(
            evolve(
                shop, name=HOSTILE, common_name=HOSTILE, sans=(HOSTILE,), tags={HOSTILE: HOSTILE}, environment=HOSTILE
            )
        )
        agent = work.agents.get("agent-edge-1")
        work.agents.heard(evolve(agent, hostname=HOSTILE, version=HOSTILE))
        target = work.targets.get("tgt-edge-1")
        work.targets.save(evolve(target, name=HOSTILE))
        job = work.jobs.get("job-0002")
        work.jobs.save(evolve(job, last_error=HOSTILE))
        company.Company(work, full.clock.now(), company.leaf()).event(
            900, HOSTILE, shop, timedelta(0), **{HOSTILE: HOSTILE, "actor": HOSTILE}
        )
    full.sign_in(Role.ADMIN)
    for path in [*PAGES, *OF_ONE, *QUESTIONS, f"/certificates/{'%3Cscript%3E'}"]:
        view = full.get(path)
        must_be_harmless(view)
        assert "<script>alert" not in view.html
        assert "<img src=x" not in view.html
    assert HOSTILE in full.get("/certificates/cert-shop").text


def test_a_search_that_is_hostile_stays_text(full: Browser) -> None:
    full.sign_in()
    view = full.ask("GET", "/certificates?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    must_be_harmless(view)
    assert "No certificate matches" in view.text


# --- Who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *OF_ONE, *QUESTIONS])
def test_without_a_session_every_page_leads_to_the_log_in(full: Browser, path: str) -> None:
    view = full.ask("GET", path)
    assert view.status == 303
    assert view.headers["location"].startswith("/login")
    assert "shop" not in view.html


def test_a_viewer_sees_and_cannot_act(full: Browser) -> None:
    full.sign_in(Role.VIEWER)
    for path in ["/", "/certificates", "/jobs", "/agents", *OF_ONE]:
        view = full.get(path)
        assert view.status == 200
        assert [form.action for form in view.forms if form.method == "post"] == ["/logout"], path
    assert full.get(QUESTIONS[0]).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/certificates/cert-shop/renew",
        "/certificates/cert-shop/deploy",
        "/certificates/cert-shop/revoke",
        "/jobs/job-0002/retry",
        "/jobs/job-0001/cancel",
    ],
)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_a_form_of_somebody_who_may_not_act_is_refused(full: Browser, path: str, role: Role) -> None:
    token = full.sign_in(role).form("/logout").fields["csrf_token"]
    before = _audit_length(full)
    view = full.ask("POST", path, {"csrf_token": token, "reason": "superseded"}, FROM_HERE)
    assert view.status == 403
    assert f"role {role.value}" in view.text
    assert _audit_length(full) == before


def test_auditors_read_the_audit_trail_and_nothing_else(full: Browser) -> None:
    view = full.sign_in(Role.AUDITOR)
    assert (view.path, view.status) == ("/audit", 200)
    assert {href for href, _ in view.read().links if not href.startswith(("/audit", "#", "?"))} == set()
    for path in ("/", "/certificates", "/certificates/cert-shop", "/jobs", "/agents", "/certificates/cert-shop/revoke"):
        refused = full.get(path)
        assert refused.status == 403
        assert "shop" not in refused.text
        assert "Audit trail" in refused.text


def test_the_audit_trail_is_for_auditors_and_those_who_act(full: Browser) -> None:
    full.sign_in(Role.OPERATOR)
    assert full.get("/audit").status == 200
    full.jar.clear()
    assert "/audit" not in full.sign_in(Role.VIEWER).html
    assert full.get("/audit").status == 403


def test_without_authentication_everybody_acts_and_forms_are_still_bound_to_the_browser() -> None:
    browser = open_browser(Options(auth_required=False, rate=None, record_calls=False))
    company.fill(browser.store)
    form = browser.get("/certificates/cert-shop").form("/certificates/cert-shop/renew")
    assert "Renewal begun" in browser.submit(form).text
    assert browser.submit(form, csrf_token="made-up").status == 403
    browser.app.close()


def _audit_length(browser: Browser) -> int:
    with browser.store.work() as work:
        return work.audit.page(Query(sort="timestamp", limit=1)).total


# --- What pages show ----------------------------------------------------------------------------------------------


def test_the_overview_counts_and_names_what_needs_attention(full: Browser) -> None:
    text = full.sign_in().text
    assert "1 certificate expired" in text
    assert "1 certificate should have been renewed by now" in text
    assert "2 jobs failed" in text
    assert "1 agent went silent" in text
    assert "1 part of the scheduler not well" in text
    assert "the database did not answer within 5 s" in text
    with full.store.work() as work:
        total = work.certificates.page(Query(limit=1)).total
    assert f"Certificates {total}" in text


def test_what_should_have_been_renewed_can_be_listed_alone(full: Browser) -> None:
    full.sign_in()
    text = full.get("/certificates?overdue=yes").text
    assert "Should have been renewed by now" in text
    assert "billing.example.org" in text
    assert "1 certificate" in text


def test_the_chart_has_a_table_that_says_the_same(full: Browser) -> None:
    view = full.sign_in()
    bars = re.findall(r'data-hint="([^"]+): (\d+)"', view.html)
    rows = re.findall(
        r'main-link" href="/certificates\?expires=[^"]+">([^<]+)</a></td><td>[^<]+</td><td[^>]*>(\d+)<', view.html
    )
    assert bars
    assert rows == bars
    day = re.search(r"/certificates\?expires=(\d{4}-\d\d-\d\d)", view.html)
    assert day
    listed = full.get(f"/certificates?expires={day[1]}")
    assert f"{bars[0][1]} certificate" in listed.text


def test_issued_installed_and_served_are_three_facts(full: Browser) -> None:
    full.sign_in()
    text = full.get("/certificates/cert-shop").text
    assert re.search(r"nginx on edge-1 .*?Issued Version 3 .*?Installed Version 3 .*?Served Version 3", text)
    assert re.search(r"nginx on lab .*?Issued Version 4 .*?Installed Version 4 .*?Served Still version 2", text)
    assert 'unknown directive "sssl_protocols"' in text


def test_a_revoked_certificate_says_why_and_offers_nothing(full: Browser) -> None:
    full.sign_in(Role.ADMIN)
    view = full.get("/certificates/cert-old-shop")
    assert "The private key was exposed" in view.text
    assert "/certificates/cert-old-shop/revoke" not in view.html
    assert view.html.count(" disabled>") == 2


def test_a_search_finds_names_and_common_names_whatever_the_case(full: Browser) -> None:
    full.sign_in()
    assert "1 certificate" in full.get("/certificates?q=BILLING").text
    assert "shop.example.org" in full.get("/certificates?q=Shop.Example").text
    assert "40 certificates" in full.get("/certificates?q=.iot.").text
    assert "No certificate matches" in full.get("/certificates?q=100%25").text


def test_a_list_can_be_walked_forth_and_back_without_repeating(full: Browser) -> None:
    full.sign_in()
    for path in ("/certificates", "/certificates?sort=expires", "/jobs", "/audit"):
        pages = [full.get(path)]
        while following := pages[-1].link("next"):
            pages.append(full.get(following))
        assert len(pages) > (1 if path.startswith("/cert") else 0)
        rows = [row for page in pages for row in _rows(page)]
        assert len(rows) == len(set(rows))
        back = pages[-1]
        for page in reversed(pages[:-1]):
            back = full.get(back.link("prev"))
            assert _rows(back) == _rows(page)
        assert not back.link("prev")


def _rows(view: View) -> list[str]:
    return re.findall(r"<tr id=.*?</tr>", view.html, re.DOTALL)


@pytest.mark.parametrize(
    "path",
    [
        "/certificates?status=Nonsense",
        "/certificates?expires=tomorrow",
        "/certificates?after=rubbish",
        "/certificates?sort=expires&after=WyJhIiwiYiJd",
        "/jobs?type=Nonsense",
        "/jobs?before=%FF",
    ],
)
def test_a_filter_that_makes_no_sense_is_explained(full: Browser, path: str) -> None:
    full.sign_in()
    view = full.get(path)
    assert view.status == 400
    assert "That did not work" in view.text


def test_an_unknown_certificate_is_a_page_that_leads_on(full: Browser) -> None:
    full.sign_in()
    view = full.get("/certificates/unknown")
    assert view.status == 404
    assert "'unknown' not found" in view.text
    assert ("/", "") in view.read().links


def test_a_browser_sees_a_page_where_nothing_is_and_a_program_a_problem(full: Browser) -> None:
    assert full.get("/nothing").status == 404
    assert "Sign in" in full.get("/nothing").text
    problem = full.ask("GET", "/nothing", headers={"Accept": "application/json"})
    assert problem.status == 404
    assert problem.headers["content-type"] == "application/problem+json"
    assert full.ask("POST", "/nothing", {}).headers["content-type"] == "application/problem+json"


def test_what_nobody_foresaw_is_a_page_with_the_request_id_and_nothing_else(
    full: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the inside of the server")

    full.sign_in()
    monkeypatch.setattr("certctl_core.usecases.jobs.page", broken)
    view = full.get("/jobs")
    assert view.status == 500
    assert view.headers["x-request-id"] in view.text
    assert "inside of the server" not in view.html
    assert ("/jobs", "") in view.read().links


def test_a_database_that_is_away_is_a_page_that_says_so(full: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise UpstreamUnavailable("the database does not answer", hint="Try again in a moment.")

    full.sign_in()
    monkeypatch.setattr("certctl_core.usecases.access.session", away)
    view = full.get("/")
    assert view.status == 503
    assert "The database does not answer" in view.text
    assert "Try again" in view.text


# --- Parts that refresh themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *OF_ONE])
def test_a_part_is_a_part_and_leaves_the_notice_alone(full: Browser, path: str) -> None:
    full.sign_in(Role.ADMIN)
    full.ask("POST", "/certificates/cert-shop/renew", _token(full), FROM_HERE)
    part = full.fetch_part(path)
    assert part.status == 200
    assert "<html" not in part.html
    assert "HX-Request" in part.headers["vary"]
    must_be_harmless(part)
    assert "Renewal begun" in full.get("/").text
    assert "Renewal begun" not in full.get("/").text


def test_a_part_without_a_session_sends_the_whole_page_to_the_log_in(full: Browser) -> None:
    part = full.fetch_part("/")
    assert (part.status, part.headers["hx-redirect"]) == (401, "/login")
    assert part.html == ""


def _token(browser: Browser) -> dict[str, str]:
    return {"csrf_token": browser.get("/agents").form("/logout").fields["csrf_token"]}


# --- What can be done -----------------------------------------------------------------------------------------------


def test_renewing_opens_a_job_for_each_key_holder_and_says_so(full: Browser) -> None:
    full.sign_in()
    form = full.get("/certificates/cert-shop").form("/certificates/cert-shop/renew")
    view = full.submit(form)
    assert view.path == "/certificates/cert-shop"
    assert "Renewal begun. It goes on as soon as its 2 agents send a CSR." in view.text
    assert "Renewing" in view.text
    with full.store.work() as work:
        assert work.certificates.get("cert-shop").status is CertificateStatus.RENEWAL_IN_PROGRESS
        waiting = Query((Where("certificate_id", "cert-shop"), Where("status", JobStatus.AWAITING_CSR)))
        opened = work.jobs.page(waiting).items
    assert {job.requested_by for job in opened} == {"operator-person"}
    assert len(opened) == 2


def test_what_cannot_be_done_says_why_and_what_to_do(full: Browser) -> None:
    full.sign_in()
    form = full.get("/certificates/cert-shop").form("/certificates/cert-shop/renew")
    form.action, form.fields["back"] = "/certificates/cert-cdn-example-org/renew", "/certificates/cert-cdn-example-org"
    view = full.submit(form)
    assert view.path == "/certificates/cert-cdn-example-org"
    assert "A renewal of cert-cdn-example-org is already in progress" in view.text
    assert "Wait for its job" in view.text


def test_deploying_to_one_target_opens_one_job(full: Browser) -> None:
    full.sign_in()
    forms = full.get("/certificates/cert-shop").forms
    (to_lab,) = [form for form in forms if form.fields.get("target_id") == "tgt-lab"]
    assert "Deployment to 1 target queued" in full.submit(to_lab).text
    with full.store.work() as work:
        jobs = work.jobs.page(Query((Where("status", JobStatus.PENDING),))).items
    assert [(job.type, job.target_id) for job in jobs] == [(JobType.DEPLOYMENT, "tgt-lab")]


def test_revoking_asks_for_a_reason_and_does_it(full: Browser) -> None:
    full.sign_in()
    form = full.get("/certificates/cert-shop/revoke").form("/certificates/cert-shop/revoke")
    assert "choose why" in full.submit(form, reason="").text
    assert "not one of" in full.submit(form, reason="boredom").text
    view = full.submit(form, reason="superseded")
    assert "Revoked. Within a minute" in view.text
    with full.store.work() as work:
        shop = work.certificates.get("cert-shop")
    assert (shop.status, shop.revocation_reason) == (CertificateStatus.REVOKED, RevocationReason.SUPERSEDED)


def test_what_is_on_hold_is_released_with_one_click(full: Browser) -> None:
    full.sign_in()
    form = full.get("/certificates/cert-shop/revoke").form("/certificates/cert-shop/revoke")
    held = full.submit(form, reason="certificateHold")
    assert "On hold" in held.text
    assert "/certificates/cert-shop/revoke" in held.html
    view = full.submit(held.form("/certificates/cert-shop/release"))
    assert "Released from hold" in view.text
    assert "/certificates/cert-shop/release" not in view.html


def test_a_failed_job_is_retried_and_an_open_one_cancelled(full: Browser) -> None:
    full.sign_in()
    jobs = full.get("/jobs")
    assert "tries again" in full.submit(jobs.form("/jobs/job-0002/retry")).text
    assert "The job is cancelled" in full.submit(jobs.form("/jobs/job-0001/cancel")).text
    with full.store.work() as work:
        assert work.jobs.get("job-0002").status is JobStatus.PENDING
        assert work.jobs.get("job-0001").status is JobStatus.CANCELLED
    again = full.submit(jobs.form("/jobs/job-0001/cancel"))
    assert "Cancelled" in again.text
    assert again.path == "/jobs"


def test_the_cas_of_an_issuer_stand_below_the_ones_that_signed_them(full: Browser) -> None:
    full.sign_in(Role.VIEWER)
    page = full.get("/issuers").text
    root, below, pending = (page.index(name) for name in ("Example Root 2031", "Example Web CA", "Partner CA"))
    assert root < below < pending or pending < root < below
    for words in ("signs new certificates", "1 CA may follow", "not DNS:secret.example.org", "Retiring",
                  "Waiting for its certificate", "second generation"):  # fmt: skip
        assert words in page
    assert page.count("signs new certificates") == 1
