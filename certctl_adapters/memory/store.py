"""The store in memory and its unit of work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from certctl_adapters import kinds
from certctl_adapters.kinds import TransactionAborted
from certctl_adapters.memory.access import MemoryAgents, MemoryApiKeys, MemoryJoinTokens, MemorySessions
from certctl_adapters.memory.approvals import MemoryApprovals
from certctl_adapters.memory.authorities import MemoryAuthorities
from certctl_adapters.memory.bulk import MemoryBulkOperations
from certctl_adapters.memory.certificates import (
    MemoryAttempts,
    MemoryCertificates,
    MemoryDeployments,
    MemoryTargets,
    MemoryVersions,
)
from certctl_adapters.memory.crls import MemoryCrls, MemoryRevocations
from certctl_adapters.memory.delegates import MemoryDelegates
from certctl_adapters.memory.enrolments import MemoryEnrolments, MemoryEnrolmentSecrets
from certctl_adapters.memory.jobs import MemoryJobs
from certctl_adapters.memory.notifications import MemoryNotifications
from certctl_adapters.memory.observed import MemoryDiscovered, MemoryEndpoints, MemoryProbes, MemoryScans
from certctl_adapters.memory.policies import (
    MemoryAgentGroups,
    MemoryPolicyReviews,
    MemoryPolicyRules,
    MemoryViolations,
)
from certctl_adapters.memory.presented import MemoryPresented
from certctl_adapters.memory.quotas import MemoryQuotas
from certctl_adapters.memory.records import MemoryApiCalls, MemoryAuditTrail, MemoryLoops
from certctl_adapters.memory.schedule import MemoryAlerts, MemoryPace, MemoryReschedulings
from certctl_adapters.memory.seals import MemorySeals
from certctl_adapters.memory.standings import MemoryStandings
from certctl_adapters.memory.table import MemoryTable
from certctl_adapters.memory.tallies import MemoryTallies
from certctl_adapters.memory.transaction import Tables, Transaction
from certctl_core.ports.store import Work


class NestedWork(AssertionError):
    """A transaction was opened inside another one."""


class PortCalledInTransaction(AssertionError):
    """A port that may block was called while a transaction was open."""


class MemoryWork(Work):
    """One transaction over the tables in memory."""

    def __init__(self, transaction: Transaction) -> None:
        self.certificates = MemoryCertificates(transaction)
        self.versions = MemoryVersions(transaction)
        self.attempts = MemoryAttempts(transaction)
        self.revocations = MemoryRevocations(transaction)
        self.standings = MemoryStandings(transaction)
        self.deployments = MemoryDeployments(transaction)
        self.jobs = MemoryJobs(transaction)
        self.agents = MemoryAgents(transaction)
        self.join_tokens = MemoryJoinTokens(transaction)
        self.issuers = MemoryTable(transaction, kinds.ISSUERS)
        self.targets = MemoryTargets(transaction)
        self.teams = MemoryTable(transaction, kinds.TEAMS)
        self.owners = MemoryTable(transaction, kinds.OWNERS)
        self.profiles = MemoryTable(transaction, kinds.PROFILES)
        self.renewal_policies = MemoryTable(transaction, kinds.RENEWAL_POLICIES)
        self.notifications = MemoryNotifications(transaction)
        self.alerts = MemoryAlerts(transaction)
        self.reschedulings = MemoryReschedulings(transaction)
        self.pace = MemoryPace(transaction)
        self.agent_groups = MemoryAgentGroups(transaction)
        self.policy_rules = MemoryPolicyRules(transaction)
        self.violations = MemoryViolations(transaction)
        self.policy_reviews = MemoryPolicyReviews(transaction)
        self.approvals = MemoryApprovals(transaction)
        self.enrolments = MemoryEnrolments(transaction)
        self.enrolment_secrets = MemoryEnrolmentSecrets(transaction)
        self.quotas = MemoryQuotas(transaction)
        self.presented = MemoryPresented(transaction)
        self.bulk_operations = MemoryBulkOperations(transaction)
        self.api_keys = MemoryApiKeys(transaction)
        self.sessions = MemorySessions(transaction)
        self.authorities = MemoryAuthorities(transaction)
        self.delegates = MemoryDelegates(transaction)
        self.crls = MemoryCrls(transaction)
        self.scans = MemoryScans(transaction)
        self.discovered = MemoryDiscovered(transaction)
        self.scan_targets = MemoryTable(transaction, kinds.SCAN_TARGETS)
        self.endpoints = MemoryEndpoints(transaction)
        self.probes = MemoryProbes(transaction)
        self.audit = MemoryAuditTrail(transaction)
        self.seals = MemorySeals(transaction)
        self.loops = MemoryLoops(transaction)
        self.calls = MemoryApiCalls(transaction)
        self.tallies = MemoryTallies(transaction)


class MemoryStore:
    """Rows that live as long as this object. `work` is what `Ports.work` wants; transactions run one after another.

    It holds what the migrations seed as well: the policy `rp-default` and the control plane's own agents.
    """

    def __init__(self) -> None:
        self._tables: Tables = {}
        self._turn = threading.Lock()
        self._owner: int | None = None
        with self.work() as work:
            for policy in kinds.seeded_policies():
                work.renewal_policies.add(policy)
            for agent in kinds.seeded_agents():
                work.agents.add(agent)

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread has a transaction open."""
        return self._owner == threading.get_ident()

    def guard(self, called: str = "a port") -> None:
        """For fakes of ports that may block: raises `PortCalledInTransaction` when a transaction is open."""
        if self.in_transaction:
            raise PortCalledInTransaction(f"{called} was called while a transaction was open")

    @contextmanager
    def work(self) -> Iterator[Work]:
        """One transaction. Raises `NestedWork` inside another one of the same thread."""
        if self.in_transaction:
            raise NestedWork("work never nests")
        with self._turn:
            self._owner = threading.get_ident()
            transaction = Transaction(self._tables)
            try:
                yield MemoryWork(transaction)
                if transaction.is_broken:
                    raise TransactionAborted
            except BaseException:
                transaction.roll_back()
                raise
            finally:
                transaction.close()
                self._owner = None
