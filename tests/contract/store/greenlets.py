"""Run as a program by the tests: two greenlets, one of which waits for a row that the other one holds."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

from certctl_adapters.postgres.work import PostgresWork, open_pool  # noqa: E402


def main(url: str) -> None:
    with open_pool(url, size=3) as pool:
        store = PostgresWork(pool)
        held, release = Event(), Event()

        def hold() -> None:
            with store() as work:
                work.teams.lock("team-1")
                print("locked", flush=True)  # noqa: T201
                held.set()
                release.wait(10)
                print("released", flush=True)  # noqa: T201

        def wait() -> None:
            held.wait(10)
            gevent.spawn_later(0.2, release.set)
            print("waiting", flush=True)  # noqa: T201
            with store() as work:
                work.teams.lock("team-1")
            print("locked", flush=True)  # noqa: T201

        gevent.joinall([gevent.spawn(hold), gevent.spawn(wait)], timeout=20, raise_error=True)


main(sys.argv[1])
