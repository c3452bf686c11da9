"""What every request passes through."""

import io
import ipaddress
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import falcon
import pytest
import structlog
from gunicorn.http.errors import InvalidChunkSize, NoMoreData

from certctl_adapters.memory import MemoryStore
from certctl_core.errors import Invalid, TooMany, UpstreamUnavailable
from certctl_core.ids import AgentId
from certctl_core.models.access import Role
from certctl_core.ports.store import Activity, ApiCall, Query, Where
from certctl_web.middleware import api_audit, rate_limit
from certctl_web.middleware.agent_activity import AgentActivity
from certctl_web.middleware.api_audit import CallRecorder
from certctl_web.middleware.rate_limit import RateLimit
from certctl_web.middleware.request_id import client_address
from certctl_web.options import Options, Rate
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, KEYS, START, Api, make_api, make_ports

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def options(**more: Any) -> Options:
    return Options(given_keys=GIVEN, **{"rate": None, **more})


# --- request id, headers, log ----------------------------------------------------------------------------------------


def test_every_answer_carries_a_fresh_request_id(api: Api) -> None:
    sent = {"X-Request-ID": "mine"}
    seen = [api.get("/health", headers=sent).headers["x-request-id"] for _ in range(2)]
    assert all(UUID.fullmatch(one) for one in seen)
    assert len(set(seen)) == 2


@pytest.mark.parametrize("path", ["/health", "/api/v1/teams", "/nowhere", "/.well-known/pki/crl/none"])
def test_every_answer_carries_security_headers(api: Api, path: str) -> None:
    headers = api.get(path).headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert ("no-store" in headers.get("cache-control", "")) is path.startswith("/api/")


def test_one_line_is_logged_for_each_request_and_never_the_query(api: Api) -> None:
    with structlog.testing.capture_logs() as lines:
        reply = api.get("/api/v1/teams?page=2", by=Role.VIEWER)
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["path"] == "/api/v1/teams"
    assert (line["status"], line["actor"], line["operation"]) == (200, "viewer-person", "list_teams")
    assert "page=2" not in str(line)
    assert KEYS[Role.VIEWER] not in str(line)
    assert reply.status == 200


def test_a_path_writes_nothing_to_a_terminal(api: Api) -> None:
    with structlog.testing.capture_logs() as lines:
        api.get("/api/v1/teams/%1B[2J%00%0a%C2%9B%E2%80%AE" + "x" * 5000)
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["path"].startswith("/api/v1/teams/%1B%5B2J%00%0A%C2%9B%E2%80%AExxx")
    assert len(line["path"]) < 2100


def test_polls_are_logged_quietly(api: Api) -> None:
    agent = api.agent()
    with structlog.testing.capture_logs() as lines:
        api.post(f"/api/v1/agents/{agent.id}/heartbeat", {}, by=agent.key)
    assert [line["log_level"] for line in lines] == ["debug"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_our_proxies_wrote_it(peer: str, forwarded: str, client: str) -> None:
    assert client_address(peer, forwarded, [ipaddress.ip_network("10.0.0.0/8")]) == client


# --- recovery --------------------------------------------------------------------------------------------------------


def test_an_unknown_path_says_where_to_look(api: Api) -> None:
    reply = api.get("/api/v1/nothing")
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert "openapi.json" in reply.json["hint"]


def test_a_wrong_method_says_which_are_right(api: Api) -> None:
    reply = api.call("PATCH", "/api/v1/teams")
    assert reply.status == 405
    assert {"GET", "POST"} <= set(reply.headers["allow"].split(", "))
    assert reply.json["error"] == "Method Not Allowed"


def test_head_is_get_without_the_body(api: Api) -> None:
    reply = api.call("HEAD", "/api/v1/teams")
    assert (reply.status, reply.content) == (200, b"")
    assert api.call("HEAD", "/api/v1/teams", by=None).status == 401


def test_a_surprise_tells_nothing_but_where_to_look() -> None:
    def broken() -> Any:
        raise RuntimeError("password=hunter2")

    clock = MovableClock()
    api = make_api(options(), make_ports(broken, clock), clock)
    with structlog.testing.capture_logs() as lines:
        reply = api.get("/api/v1/teams")
    assert reply.status == 500
    assert b"hunter2" not in reply.content
    assert reply.headers["x-request-id"] in reply.json["hint"]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["log_level"] == "error"
    assert isinstance(line["exc_info"], RuntimeError)
    api.app.close()  # or its recorder goes on complaining during other tests


def test_a_database_that_is_away_makes_the_server_not_ready() -> None:
    def away() -> Any:
        raise UpstreamUnavailable("the database does not answer", retry_after=5)

    clock = MovableClock()
    api = make_api(options(), make_ports(away, clock), clock)
    reply = api.get("/ready", by=None)
    assert reply.status == 503
    assert reply.json == {"status": "db_unavailable", "error": "the database does not answer"}
    listed = api.get("/api/v1/teams")
    assert listed.status == 503
    assert listed.headers["retry-after"] == "5"
    api.app.close()
    assert api.get("/health", by=None).status == 200


# --- body limit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow() -> Iterator[Api]:
    made = make_api(options(max_body_size=100))
    yield made
    made.app.close()


class Chunks(io.RawIOBase):
    """A body whose length nobody announced, as a server hands it on: each read gives what is there."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        if not self._chunks:
            return b""
        chunk = self._chunks[0][:size]
        self._chunks[0] = self._chunks[0][size:]
        if not self._chunks[0]:
            self._chunks.pop(0)
        self.taken += len(chunk)
        return chunk


def chunked(api: Api, body: Chunks) -> falcon.testing.Result:
    environ = falcon.testing.create_environ(
        "/api/v1/teams",
        method="POST",
        headers={"Transfer-Encoding": "chunked", "Authorization": f"Bearer {KEYS[Role.ADMIN]}"},
    )
    environ["wsgi.input"] = body
    environ.pop("CONTENT_LENGTH", None)
    return answered(api, environ)


def answered(api: Api, environ: dict[str, Any]) -> falcon.testing.Result:
    got = falcon.testing.StartResponseMock()
    answer = b"".join(api.app(environ, got))
    return falcon.testing.Result([answer], got.status or "", got.headers or ())


def test_a_body_over_the_limit_is_refused_by_its_announced_length(narrow: Api) -> None:
    reply = narrow.post("/api/v1/teams", {"name": "x" * 100})
    assert reply.status == 413
    assert "100 bytes" in reply.json["message"]
    assert narrow.post("/api/v1/teams", {"name": "x" * 50}).status == 201


def test_a_chunked_body_is_read_whole(narrow: Api) -> None:
    assert chunked(narrow, Chunks(b'{"name":', b' "Platform"}')).status_code == 201
    assert narrow.get("/api/v1/teams").json["data"][0]["name"] == "Platform"


def test_a_chunked_body_over_the_limit_is_refused_without_being_read(narrow: Api) -> None:
    endless = Chunks(*[b"x" * 40] * 1000)
    result = chunked(narrow, endless)
    assert result.status_code == 413
    assert result.headers["content-type"] == "application/problem+json"
    assert endless.taken == 101


def test_a_body_that_ends_early_is_refused(narrow: Api) -> None:
    environ = falcon.testing.create_environ("/api/v1/teams", method="POST")
    environ |= {"wsgi.input": io.BytesIO(b"{"), "CONTENT_LENGTH": "50"}
    assert answered(narrow, environ).status_code == 400


class Breaks(io.RawIOBase):
    """A body that goes wrong on the way."""

    def __init__(self, reason: Exception) -> None:
        self._reason = reason

    def read(self, size: int = -1) -> bytes:
        raise self._reason


@pytest.mark.parametrize("headers", [{"CONTENT_LENGTH": "50"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (TimeoutError("timed out"), 408),
        (ConnectionResetError(), 400),
        (InvalidChunkSize(b"zz"), 400),
        (NoMoreData(), 400),
    ],
)
def test_a_body_that_stalls_or_breaks_is_the_senders_fault(
    narrow: Api, headers: dict[str, str], reason: Exception, status: int
) -> None:
    environ = falcon.testing.create_environ("/api/v1/teams", method="POST")
    environ |= {"wsgi.input": Breaks(reason), **headers}
    result = answered(narrow, environ)
    assert result.status_code == status
    assert result.headers["content-type"] == "application/problem+json"
    assert result.json["hint"]


def test_a_content_length_that_is_no_number_is_refused(narrow: Api) -> None:
    environ = falcon.testing.create_environ("/api/v1/teams", method="POST")
    environ["CONTENT_LENGTH"] = "many"
    assert answered(narrow, environ).status_code == 400


# --- rate limit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited() -> Iterator[Api]:
    made = make_api(options(rate=Rate(0.001, 3), agent_rate=Rate(0.001, 10)))
    yield made
    made.app.close()


def test_who_asks_too_often_is_told_when_to_come_back(limited: Api) -> None:
    statuses = [limited.get("/api/v1/teams").status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    reply = limited.get("/api/v1/teams")
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json["message"] == "Rate limit exceeded"


def test_each_caller_has_a_bucket_of_its_own(limited: Api) -> None:
    for _ in range(4):
        limited.get("/api/v1/teams", by=Role.ADMIN)
    assert limited.get("/api/v1/teams", by=Role.VIEWER).status == 200
    assert limited.get("/api/v1/version", by=None).status == 200


def test_agents_have_a_budget_of_their_own(limited: Api) -> None:
    agent = limited.agent()
    beats = [limited.post(f"/api/v1/agents/{agent.id}/heartbeat", {}, by=agent.key).status for _ in range(12)]
    assert beats == [200] * 10 + [429] * 2


def test_inventing_keys_does_not_give_fresh_buckets(limited: Api) -> None:
    statuses = [limited.get("/api/v1/teams", by=f"cck_{number}").status for number in range(6)]
    assert statuses == [401] * 3 + [429] * 3
    assert limited.get("/api/v1/teams", by=None).status == 429
    assert limited.get("/api/v1/teams", by=Role.VIEWER).status == 429, "an unknown key is not looked up any more"


@pytest.mark.parametrize("path", ["/api/v1/agents/join", "/login"])
def test_an_invented_key_does_not_open_what_needs_none_without_limit(limited: Api, path: str) -> None:
    """Join tokens and log-ins are guessed against the address's bucket, whatever header comes with them."""
    sent = {"token": "cjt_guess", "name": "a", "hostname": "a"}
    statuses = [limited.post(path, sent, by=f"cck_{number}").status for number in range(6)]
    assert set(statuses[:3]) <= {401, 403}
    assert statuses[3:] == [429] * 3


def test_blanks_before_a_key_make_no_other_caller_of_it(limited: Api) -> None:
    sent = {"Authorization": f"Bearer   {KEYS[Role.VIEWER]}"}
    statuses = [limited.get("/api/v1/teams", by=None, headers=sent).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


def test_a_network_of_one_ipv6_host_is_one_address(limited: Api) -> None:
    """Whoever has one address there has 2 to the 64 of them."""

    def ask(address: str) -> int:
        environ = falcon.testing.create_environ("/api/v1/version", remote_addr=address)
        return answered(limited, environ).status_code

    assert [ask(f"2001:db8:0:1::{number}") for number in range(5)] == [200, 200, 200, 429, 429]
    assert ask("2001:db8:0:2::1") == 200
    assert [ask("192.0.2.1"), ask("::ffff:192.0.2.1"), ask("192.0.2.1"), ask("::ffff:192.0.2.1")] == [200] * 3 + [429]


def test_a_key_that_has_proved_itself_is_not_punished_for_its_neighbours(limited: Api) -> None:
    assert limited.get("/api/v1/teams", by=Role.ADMIN).status == 200
    for number in range(6):
        limited.get("/api/v1/teams", by=f"cck_{number}")
    assert limited.get("/api/v1/teams", by=Role.ADMIN).status == 200


def test_supervisors_are_never_limited(limited: Api) -> None:
    assert {limited.get("/health", by=None).status for _ in range(10)} == {200}


def test_buckets_fill_again_and_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    limit = RateLimit(Rate(2.0, 2), Rate(), clock=lambda: now[0])
    limit._take("a")
    limit._take("a")
    with pytest.raises(TooMany) as caught:
        limit._take("a")
    assert caught.value.retry_after == 1
    now[0] = 0.5
    limit._take("a")
    monkeypatch.setattr(rate_limit, "MAX_BUCKETS", 5)
    for number in range(100):
        limit._take(str(number))
    assert len(limit._buckets) <= 6


# --- CORS ------------------------------------------------------------------------------------------------------------


def cors(origins: tuple[str, ...], path: str = "/api/v1/teams", origin: str = "https://a.example") -> dict[str, str]:
    made = make_api(options(cors_origins=origins))
    headers = made.get(path, headers={"Origin": origin}).headers
    made.app.close()
    return {name: value for name, value in headers.items() if name.startswith("access-control") or name == "vary"}


def test_no_origin_is_allowed_unless_configured(api: Api) -> None:
    assert cors(()) == {}
    assert api.call("OPTIONS", "/api/v1/teams", by=None).status == 204


def test_configured_origins_are_allowed_and_no_others() -> None:
    allowed = cors(("https://a.example",))
    assert allowed["access-control-allow-origin"] == "https://a.example"
    assert allowed["access-control-max-age"] == "86400"
    assert allowed["vary"] == "Origin"
    assert cors(("https://a.example",), origin="https://b.example") == {"vary": "Origin"}
    assert cors(("*",))["access-control-allow-origin"] == "*"
    assert "vary" not in cors(("*",))


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/v1/auth/info"])
def test_what_belongs_to_nobody_is_open_to_everybody(path: str) -> None:
    assert cors((), path)["access-control-allow-origin"] == "*"


# --- authentication --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "Authorization header required"),
        ("Basic abc", "expected: Bearer <token>"),
        ("bearer abc", "expected: Bearer <token>"),
        ("Bearer ", "expected: Bearer <token>"),
        ("Bearer abc", "Invalid API key"),
    ],
)
def test_what_is_wrong_with_the_credentials_is_said(api: Api, header: str, said: str) -> None:
    reply = api.get("/api/v1/teams", by=None, headers={"Authorization": header} if header else {})
    assert reply.status == 401
    assert said in reply.json["message"]


def test_without_authentication_everybody_is_an_administrator() -> None:
    open_to_all = make_api(options(auth_required=False))
    assert open_to_all.get("/api/v1/auth/info", by=None).json == {"auth_type": "none", "required": False}
    assert open_to_all.get("/api/v1/auth/check", by=None).json["admin"] is True
    made = open_to_all.made("/api/v1/teams", {"name": "x"}, by=None)
    event = open_to_all.get(f"/api/v1/audit?resource_id={made['id']}", by=None).json["data"][0]
    assert event["actor"] == "anonymous"
    open_to_all.app.close()


def test_changes_are_audited_under_the_request_that_made_them(api: Api) -> None:
    reply = api.post("/api/v1/teams", {"name": "x"})
    event = api.get(f"/api/v1/audit?resource_id={reply.json['id']}").json["data"][0]
    assert event["request_id"] == reply.headers["x-request-id"]


# --- record of calls -------------------------------------------------------------------------------------------------


def recorded(api: Api) -> list[dict[str, Any]]:
    api.app.close()
    with api.ports.work() as work:
        page = work.calls.page(Query((Where("resource_type", "api"),), sort="timestamp", limit=500))
    return [dict(event.details) | {"actor": event.actor, "action": event.action} for event in page.items]


def test_authenticated_calls_are_recorded_without_their_query(api: Api) -> None:
    api.get("/api/v1/teams?page=3", by=Role.VIEWER)
    api.post("/api/v1/teams", {"name": "x"})
    api.get("/api/v1/teams", by=None)
    api.get("/health", by=None)
    calls = recorded(api)
    assert [(call["action"], call["path"], call["status"], call["actor"]) for call in calls] == [
        ("api_get", "/api/v1/teams", 200, "viewer-person"),
        ("api_post", "/api/v1/teams", 201, "admin-person"),
    ]
    assert re.fullmatch("[0-9a-f]{16}", calls[1]["body_hash"])


def test_polls_are_recorded_only_when_they_fail(api: Api) -> None:
    mine, other = api.agent("web-1"), api.agent("web-2")
    api.get(f"/api/v1/agents/{mine.id}/work", by=mine.key)
    api.get(f"/api/v1/agents/{other.id}/work", by=mine.key)
    polls = [call["status"] for call in recorded(api) if call["path"].endswith("/work")]
    assert polls == [403]


def test_heartbeats_and_polls_are_counted_by_the_hour(api: Api) -> None:
    mine, other = api.agent("web-1"), api.agent("web-2")
    began = START.replace(minute=0, second=0)
    for agent, caller in ((mine, mine.key), (mine, Role.OPERATOR), (mine, other.key)):
        api.post(f"/api/v1/agents/{agent.id}/heartbeat", {}, by=caller)
        api.get(f"/api/v1/agents/{agent.id}/work", by=caller)
    api.clock.advance(timedelta(hours=1))
    api.get(f"/api/v1/agents/{mine.id}/work", by=mine.key)
    api.get("/api/v1/agents", by=Role.OPERATOR)
    api.app.close()
    with api.ports.work() as work:
        counted = [work.agents.activity(AgentId(agent.id), began) for agent in (mine, other)]
    assert counted[0] == [
        Activity(AgentId(mine.id), began, heartbeats=2, polls=2),
        Activity(AgentId(mine.id), began + timedelta(hours=1), polls=1),
    ]
    assert counted[1] == []


def test_counts_wait_while_the_database_is_away(api: Api) -> None:
    agent, away = api.agent(), [True]

    def work() -> Any:
        if away[0]:
            raise UpstreamUnavailable("away")
        return api.ports.work()

    activity = AgentActivity(make_ports(work, api.clock))
    activity._polls[agent.id, START] += 2
    activity.flush()
    away[0] = False
    activity._polls[agent.id, START] += 1
    activity.close()
    with api.ports.work() as seen:
        assert [one.polls for one in seen.agents.activity(AgentId(agent.id), START)] == [3]


def a_call(number: int) -> ApiCall:
    return ApiCall(
        at=START,
        actor="a",
        method="GET",
        path=f"/{number}",
        status=200,
        took=timedelta(0),
        request_id=str(number),
    )


class Recorded:
    """Stands in for the store of calls, and may be away."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.is_away = False
        self.takes_not = ""

    @contextmanager
    def work(self) -> Iterator[Any]:
        if self.is_away:
            raise UpstreamUnavailable("away")
        yield self

    @property
    def calls(self) -> "Recorded":
        return self

    def add(self, calls: list[ApiCall]) -> None:
        if self.takes_not in [call.request_id for call in calls]:
            raise Invalid("the database cannot hold this value")
        self.batches.append([call.request_id for call in calls])


@pytest.fixture
def recording() -> Iterator[tuple[Recorded, CallRecorder]]:
    store = Recorded()
    ports = make_ports(store.work, MovableClock())
    recorder = CallRecorder(ports, every=3600)
    yield store, recorder
    recorder.close()


def test_calls_wait_while_the_database_is_away(recording: tuple[Recorded, CallRecorder]) -> None:
    store, recorder = recording
    store.is_away = True
    recorder.add(a_call(1))
    recorder.add(a_call(2))
    recorder.flush()
    assert store.batches == []
    store.is_away = False
    recorder.add(a_call(3))
    recorder.flush()
    assert store.batches == [["1", "2", "3"]]


def test_a_call_that_can_never_be_written_holds_up_no_other(recording: tuple[Recorded, CallRecorder]) -> None:
    store, recorder = recording
    store.takes_not = "2"
    for number in (1, 2, 3):
        recorder.add(a_call(number))
    with structlog.testing.capture_logs() as lines:
        recorder.flush()
        recorder.add(a_call(4))
        recorder.flush()
    assert store.batches == [["1"], ["3"], ["4"]]
    assert ["path='/2'" in line["call"] for line in lines] == [True]


def test_a_full_queue_drops_the_oldest_and_says_so(
    recording: tuple[Recorded, CallRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, recorder = recording
    monkeypatch.setattr(api_audit, "CAPACITY", 2)
    for number in range(5):
        recorder.add(a_call(number))
    with structlog.testing.capture_logs() as lines:
        recorder.close()
    assert store.batches == [["3", "4"]]
    assert [line["count"] for line in lines if line["event"] == "api calls dropped"] == [3]


def test_the_writer_writes_by_itself() -> None:
    store = MemoryStore()
    written = threading.Event()
    ports = make_ports(store.work, MovableClock())
    recorder = CallRecorder(ports, every=0.01)
    flush = recorder.flush

    def flush_and_tell() -> None:
        flush()
        with store.work() as work:
            if work.calls.page(Query((Where("resource_type", "api"),), sort="timestamp")).items:
                written.set()

    recorder.flush = flush_and_tell  # type: ignore[method-assign]
    recorder.add(a_call(1))
    assert written.wait(10)
    recorder.close()
