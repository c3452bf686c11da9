"""Figures for monitoring, in the text format 0.0.4 of Prometheus.

What the fleet is like is read from the database, so it is the same whichever process answers. How long things took is
measured where it happens; prometheus-client keeps that in files, one for each process, in the folder that
PROMETHEUS_MULTIPROC_DIR names (`process.shared_measurements`), and whoever answers adds them up. Without the folder a
process tells of itself only.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from certctl_core.ports.world import Meter
from certctl_web.media.records import MetricsResponse
from certctl_web.process import measurements_folder

_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_CA_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WORK_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_LOOP_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)

_measured: Final = CollectorRegistry()


def _histogram(name: str, about: str, labels: Sequence[str], bounds: Sequence[float]) -> Histogram:
    return Histogram(f"certctl_{name}_duration_seconds", about, labels, registry=_measured, buckets=bounds)


_requests: Final = _histogram("http_request", "Time to answer a request.", ("operation", "status"), _REQUEST_SECONDS)
_issuance: Final = _histogram("issuance", "Time that a CA took to answer.", ("issuer_type", "outcome"), _CA_SECONDS)
_deployment: Final = _histogram("deployment", "Time from handing out to the end.", ("outcome",), _WORK_SECONDS)
_crls: Final = _histogram("crl", "Time that making a CRL took.", ("kind", "outcome"), _CA_SECONDS)
_loops: Final = _histogram("loop", "Time that a run of a loop took.", ("loop", "outcome"), _LOOP_SECONDS)
_ocsp: Final = Counter(
    "certctl_ocsp_counter", "What OCSP clients asked, and how it went.", ("label",), registry=_measured
)


@cache
def _ocsp_counter(label: str) -> Counter:
    return _ocsp.labels(label)


_scep: Final = Counter(
    "certctl_scep_messages",
    "Messages of SCEP, and what became of them.",
    ("label", "message", "outcome"),
    registry=_measured,
)
_challenges: Final = Counter(
    "certctl_scep_intune_enrollments",
    "Challenges that a connector signed, and what was found of them.",
    ("label", "verdict"),
    registry=_measured,
)


class PrometheusMeter(Meter):
    """Hands what the core measures to prometheus-client."""

    def issued(self, issuer_type: str, outcome: str, took: timedelta, /) -> None:
        _issuance.labels(issuer_type, outcome).observe(took.total_seconds())

    def deployed(self, outcome: str, took: timedelta, /) -> None:
        _deployment.labels(outcome).observe(took.total_seconds())

    def crl_made(self, kind: str, outcome: str, took: timedelta, /) -> None:
        _crls.labels(kind, outcome).observe(took.total_seconds())

    def challenged(self, label: str, verdict: str, /) -> None:
        _challenges.labels(label, verdict).inc()


def challenges(label: str) -> Mapping[str, int]:
    """How many challenges there were at a door of SCEP by what was found of them, in all processes of this host."""
    return {
        sample.labels["verdict"]: int(sample.value)
        for metric in _of_all_processes().collect()
        for sample in metric.samples
        if sample.name == "certctl_scep_intune_enrollments_total" and sample.labels["label"] == label
    }


def answered_scep(label: str, message: str, outcome: str) -> None:
    """A message of SCEP was answered."""
    _scep.labels(label, message, outcome).inc()


def answered(operation: str, status: int, seconds: float) -> None:
    """A request was answered. Statuses are told by class (`2xx`): what differs within one is in the log."""
    _requests.labels(operation or "none", f"{status // 100}xx").observe(seconds)


def ocsp(label: str) -> None:
    """Something happened to an OCSP request."""
    _ocsp_counter(label).inc()


def ran(loop: str, outcome: str, took: timedelta) -> None:
    """A loop has ended a run."""
    _loops.labels(loop, outcome).observe(took.total_seconds())


class _Fleet(Collector):
    """What the database says, under the names of the established API."""

    def __init__(self, facts: MetricsResponse) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        gauge, counter = self._facts.gauge, self._facts.counter
        gauges = {
            "certificate_total": ("Certificates, without archived ones.", gauge.certificate_total),
            "certificate_active": ("Certificates in use that do not end soon.", gauge.certificate_active),
            "certificate_expiring_soon": ("Certificates that end within 30 days.", gauge.certificate_expiring_soon),
            "certificate_expired": ("Certificates that have run out.", gauge.certificate_expired),
            "certificate_revoked": ("Certificates that were revoked.", gauge.certificate_revoked),
            "certificate_overdue": ("Certificates whose renewal is overdue.", gauge.certificate_overdue),
            "agent_total": ("Agents, without retired ones.", gauge.agent_total),
            "agent_online": ("Agents that were heard of lately.", gauge.agent_online),
            "job_pending": ("Jobs that wait.", gauge.job_pending),
            "crl_failing": ("CRLs that could not be made when it was last tried.", gauge.crl_failing),
            "crl_ended": ("Published CRLs whose nextUpdate is over.", gauge.crl_ended),
            "crl_late_seconds": ("Seconds for which the CRL that waited longest has been due.", gauge.crl_late_seconds),
            "uptime_seconds": ("Seconds since the server was started.", self._facts.uptime.uptime_seconds),
        }
        counters = {
            "job_completed": ("Jobs that were completed.", counter.job_completed_total),
            "job_failed": ("Jobs that failed.", counter.job_failed_total),
            "notification_dead": ("Messages that were given up.", counter.notifications_dead_total),
        }
        yield from (GaugeMetricFamily(f"certctl_{name}", about, value) for name, (about, value) in gauges.items())
        yield from (CounterMetricFamily(f"certctl_{name}", about, value) for name, (about, value) in counters.items())


def exposition(facts: MetricsResponse) -> bytes:
    """Everything, as Prometheus reads it."""
    fleet = CollectorRegistry()
    fleet.register(_Fleet(facts))
    return generate_latest(fleet) + generate_latest(_of_all_processes())


def _of_all_processes() -> CollectorRegistry:
    folder = measurements_folder()
    if folder is None:
        return _measured
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return registry
