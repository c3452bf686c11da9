"""CRLs: what is published of which CA, and how making them goes."""

from typing import Final

from certctl_core.usecases import crls
from certctl_web.access import ADMINS
from certctl_web.media.crls import CRLCache, CRLCacheRow
from certctl_web.operation import Call, Operation, Row


def cache(call: Call[None], _: None) -> CRLCache:
    now = call.ports.clock.now()
    rows = tuple(CRLCacheRow.of(listed, now) for listed in crls.overview(call.ports, call.caller))
    return CRLCache(cache_rows=rows, row_count=len(rows), generated_at=now)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_crls",
        method="GET",
        path="/api/v1/admin/crl/cache",
        summary="List the CRLs that are published, and how making them went",
        who=ADMINS,
        run=cache,
        answer=CRLCache,
    ),
)
