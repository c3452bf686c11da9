"""Answers that are sent as they are read."""

from collections.abc import Callable, Iterator

import pytest

from certctl_adapters.memory import MemoryStore
from certctl_core.errors import UpstreamUnavailable
from certctl_web.access import ANYONE
from certctl_web.app import create_app
from certctl_web.operation import Answer, Call, Operation, Row
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.web.api import Api, make_ports


def serving(parts: Callable[[], Iterator[bytes]]) -> Api:
    """An application whose only operation answers with these parts."""

    def run(_: Call[None], __: None) -> Answer[None]:
        return Answer(stream=parts(), media_type="text/csv", headers={"X-Kind": "streamed"})

    row: Row = Operation(
        name="stream", method="GET", path="/stream", summary="Stream", who=ANYONE, run=run, media_types=("text/csv",)
    )
    clock = MovableClock()
    ports = make_ports(MemoryStore().work, clock)
    return Api(create_app(ports, Options(rate=None, record_calls=False), [row]), ports, clock)


def test_parts_are_sent_one_after_the_other_and_the_stream_is_closed() -> None:
    seen: list[str] = []

    def parts() -> Iterator[bytes]:
        try:
            yield b"a,"
            yield b"b"
        finally:
            seen.append("closed")

    reply = serving(parts).get("/stream", by=None)
    assert (reply.status, reply.content) == (200, b"a,b")
    assert (reply.headers["content-type"], reply.headers["x-kind"]) == ("text/csv", "streamed")
    assert seen == ["closed"]


def test_nothing_is_a_stream_too() -> None:
    assert serving(lambda: iter(())).get("/stream", by=None).content == b""


def test_what_fails_before_the_first_part_is_answered_as_the_error_it_is() -> None:
    def parts() -> Iterator[bytes]:
        raise UpstreamUnavailable("no database")
        yield b""

    reply = serving(parts).get("/stream", by=None)
    assert (reply.status, reply.json["message"]) == (503, "no database")


def test_what_fails_later_breaks_off() -> None:
    def parts() -> Iterator[bytes]:
        yield b"a"
        raise UpstreamUnavailable("no database")

    with pytest.raises(UpstreamUnavailable):
        serving(parts).get("/stream", by=None)
