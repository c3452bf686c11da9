"""Errors become answers here and nowhere else."""

from typing import Any

import falcon

from certctl_core.errors import CertctlError
from certctl_web import problems
from certctl_web.media import writing
from certctl_web.middleware import facts
from certctl_web.problems import Problem


def install(app: falcon.App[Any, Any]) -> None:
    """Answer every error as a problem: those raised on purpose, Falcon's own, and those nobody foresaw."""
    app.add_error_handler(Exception, _surprised)
    app.add_error_handler(falcon.HTTPError, _refused_by_falcon)
    app.add_error_handler(CertctlError, _refused)


def answer(resp: falcon.Response, problem: Problem) -> None:
    resp.status = problem.status
    resp.content_type = problems.MEDIA_TYPE
    resp.data = writing.write_json(problem.body)
    for name, value in problem.headers.items():
        resp.set_header(name, value)


def _refused(req: falcon.Request, resp: falcon.Response, error: CertctlError, _params: object) -> None:
    known = facts.of(req)
    known.failure = error
    answer(resp, problems.of_error(error, known.request_id))


def _refused_by_falcon(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object) -> None:
    answer(resp, problems.of_http(error, facts.of(req).request_id, req.method, req.path))


def _surprised(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    known = facts.of(req)
    known.failure = error
    answer(resp, problems.of_surprise(known.request_id))
