"""The server itself: is it there, is it ready, what runs in it, how does the fleet do."""

from datetime import datetime
from functools import cache
from typing import Annotated, Final

from attrs import frozen

from certctl_core.errors import CertctlError, Forbidden, UpstreamUnavailable
from certctl_core.usecases import status
from certctl_web import openapi
from certctl_web.access import ANYONE, PEOPLE
from certctl_web.media import writing
from certctl_web.media.bounds import Range
from certctl_web.media.records import (
    CertificateStatusCount,
    DashboardSummary,
    ExpirationBucket,
    Health,
    IssuanceRateDataPoint,
    JobTrendDataPoint,
    Loop,
    Loops,
    MetricsResponse,
    Readiness,
    Version,
)
from certctl_web.operation import Answer, Call, Operation, Row


@frozen(kw_only=True)
class Days:
    days: Annotated[int, Range(1, 365)] = 30


def health(_call: Call[None], _: None) -> Health:
    return Health(status="healthy")


def api_health(call: Call[None], _: None) -> Health:
    return Health(status="healthy", timestamp=call.ports.clock.now())


def ready(call: Call[None], _: None) -> Readiness:
    status.database_answers(call.ports)
    return Readiness(status="ready", db="reachable")


def not_ready(error: CertctlError) -> Answer[Readiness] | None:
    """Load balancers of the established API read this body rather than a problem."""
    if not isinstance(error, UpstreamUnavailable):
        return None
    return Answer(content=Readiness(status="db_unavailable", error=error.message), status=503)


def version(call: Call[None], _: None) -> Version:
    return Version(version=call.options.version)


def loops(call: Call[None], _: None) -> Loops:
    found = tuple(Loop.of(state) for state in status.loops(call.ports, call.caller))
    return Loops(data=found, total=len(found))


def summary(call: Call[None], _: None) -> DashboardSummary:
    return DashboardSummary.of(status.summary(call.ports, call.caller))


def by_status(call: Call[None], _: None) -> tuple[CertificateStatusCount, ...]:
    counted = status.summary(call.ports, call.caller).certificates
    return tuple(CertificateStatusCount(status=state.value, count=count) for state, count in counted.items())


def timeline(call: Call[Days], _: None) -> tuple[ExpirationBucket, ...]:
    return tuple(
        _bucket(day, count) for day, count in status.expiration_timeline(call.ports, call.caller, call.query.days)
    )


def _bucket(day: datetime, count: int) -> ExpirationBucket:
    return ExpirationBucket(date=day.date().isoformat(), count=count)


def job_trends(call: Call[Days], _: None) -> tuple[JobTrendDataPoint, ...]:
    return tuple(map(JobTrendDataPoint.of, status.job_trends(call.ports, call.caller, call.query.days)))


def issuance_rate(call: Call[Days], _: None) -> tuple[IssuanceRateDataPoint, ...]:
    counted = status.issuance_rate(call.ports, call.caller, call.query.days)
    return tuple(IssuanceRateDataPoint(date=day.isoformat(), issued_count=count) for day, count in counted)


def metrics(call: Call[None], _: None) -> MetricsResponse:
    return MetricsResponse.of(*status.metrics(call.ports, call.caller), call.options.started_at)


def exposition(call: Call[None], _: None) -> Answer[bytes]:
    from certctl_web import metrics as monitoring  # its files are opened when it is loaded

    return Answer(raw=monitoring.exposition(metrics(call, None)))


def document(call: Call[None], _: None) -> Answer[bytes]:
    return Answer(raw=_document(call.options.version))


@cache
def _document(version: str) -> bytes:
    from certctl_web.operations import TABLE  # which this file is a part of

    return writing.write_json(openapi.document(TABLE, version))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="get_health",
        tool="certctl_health",
        method="GET",
        path="/health",
        summary="Say that the process is alive",
        who=ANYONE,
        run=health,
        answer=Health,
    ),
    Operation(
        name="get_api_health",
        tool="",
        method="GET",
        path="/api/v1/health",
        summary="Say that the process is alive, and its time",
        who=ANYONE,
        run=api_health,
        answer=Health,
    ),
    Operation(
        name="get_ready",
        tool="certctl_ready",
        method="GET",
        path="/ready",
        summary="Say whether requests can be answered: asks the database",
        who=ANYONE,
        run=ready,
        answer=Readiness,
        instead=not_ready,
    ),
    Operation(
        name="get_version",
        method="GET",
        path="/api/v1/version",
        summary="Say which version runs",
        who=ANYONE,
        run=version,
        answer=Version,
    ),
    Operation(
        name="get_openapi",
        tool="",
        method="GET",
        path="/api/v1/openapi.json",
        summary="The description of this interface, OpenAPI 3.1",
        who=ANYONE,
        run=document,
    ),
    Operation(
        name="list_loops",
        method="GET",
        path="/api/v1/loops",
        summary="List the scheduler's loops with their last runs",
        who=PEOPLE,
        run=loops,
        answer=Loops,
    ),
    Operation(
        name="get_summary",
        tool="certctl_dashboard_summary",
        method="GET",
        path="/api/v1/stats/summary",
        summary="The state of the fleet in a dozen numbers",
        who=PEOPLE,
        run=summary,
        answer=DashboardSummary,
    ),
    Operation(
        name="count_certificates_by_status",
        tool="certctl_certificates_by_status",
        method="GET",
        path="/api/v1/stats/certificates-by-status",
        summary="How many certificates are in each status",
        who=PEOPLE,
        run=by_status,
        answer=tuple[CertificateStatusCount, ...],
    ),
    Operation(
        name="get_expiration_timeline",
        tool="certctl_expiration_timeline",
        method="GET",
        path="/api/v1/stats/expiration-timeline",
        summary="How many certificates expire on each of the next days",
        who=PEOPLE,
        run=timeline,
        query=Days,
        answer=tuple[ExpirationBucket, ...],
    ),
    Operation(
        name="get_job_trends",
        tool="certctl_job_trends",
        method="GET",
        path="/api/v1/stats/job-trends",
        summary="How many jobs succeeded and failed on each of the last days",
        who=PEOPLE,
        run=job_trends,
        query=Days,
        answer=tuple[JobTrendDataPoint, ...],
        errors=(Forbidden,),
    ),
    Operation(
        name="get_issuance_rate",
        tool="certctl_issuance_rate",
        method="GET",
        path="/api/v1/stats/issuance-rate",
        summary="How many certificates were issued on each of the last days",
        who=PEOPLE,
        run=issuance_rate,
        query=Days,
        answer=tuple[IssuanceRateDataPoint, ...],
        errors=(Forbidden,),
    ),
    Operation(
        name="get_metrics",
        tool="certctl_metrics",
        method="GET",
        path="/api/v1/metrics",
        summary="The fleet in figures for monitoring",
        who=PEOPLE,
        run=metrics,
        answer=MetricsResponse,
        errors=(Forbidden,),
        recorded=False,
    ),
    Operation(
        name="get_prometheus_metrics",
        tool="",
        method="GET",
        path="/api/v1/metrics/prometheus",
        summary="The fleet, and how long things took, in the text format of Prometheus",
        who=PEOPLE,
        run=exposition,
        media_type="text/plain; version=0.0.4; charset=utf-8",
        errors=(Forbidden,),
        recorded=False,
    ),
)
