"""Heartbeats and polls, counted for each agent and hour rather than recorded one by one.

A request adds to a count in memory; one thread of the process (a greenlet under gevent) adds the counts to the database
every minute and at shutdown. A process that is killed loses the last minute's. While the database is away the counts
wait, and they are as many as there are agents.
"""

import os
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import falcon
import structlog

from certctl_core.ids import AgentId
from certctl_core.ports import Ports
from certctl_core.ports.store import Activity
from certctl_core.usecases import agents
from certctl_web.middleware import facts

FLUSH_EVERY: Final = 60.0

_log: Final = structlog.stdlib.get_logger("certctl.audit")

Hour = tuple[str, datetime]


class AgentActivity:
    """Counts what agents ask, as far as it was answered well: operations that are not recorded, with an agent in their
    path. The writer starts with the first of them, in the process that counts it: a server forks."""

    def __init__(self, ports: Ports, every: float = FLUSH_EVERY) -> None:
        self._ports = ports
        self._every = every
        self._heartbeats: Counter[Hour] = Counter()
        self._polls: Counter[Hour] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pid = 0

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, params: Mapping[str, str]
    ) -> None:
        operation = facts.of(req).operation
        if operation is not None and not operation.recorded:
            facts.of(req).agent_id = params.get(operation.own or "", "")

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _req_succeeded: bool
    ) -> None:
        agent_id = facts.of(req).agent_id
        if not agent_id or resp.status_code >= 400:
            return
        hour = agent_id, self._ports.clock.now().replace(minute=0, second=0, microsecond=0)
        with self._lock:
            (self._polls if req.method == "GET" else self._heartbeats)[hour] += 1
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="agent-activity", daemon=True).start()

    def flush(self) -> None:
        """Add what has been counted to the database. What it does not take waits on."""
        with self._lock:
            heartbeats, polls = self._heartbeats, self._polls
            self._heartbeats, self._polls = Counter(), Counter()
        heard = [Activity(AgentId(hour[0]), hour[1], heartbeats[hour], polls[hour]) for hour in heartbeats | polls]
        try:
            agents.add_activity(self._ports, heard)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, requests go on
            _log.warning("agent activity not written", agents=len(heard), error=str(error))
            with self._lock:
                self._heartbeats += heartbeats
                self._polls += polls

    def close(self) -> None:
        """Stop the writer and write what is left."""
        self._stop.set()
        self.flush()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.flush()
