"""Every error answer of the API, as an RFC 9457 problem document. One of the three doors where a bug is caught."""

import logging

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from app.api.openapi.documented import MEDIA_TYPE
from app.api.refusals import InvalidKey, JobNotFinishedYet
from app.api.schemas import problem_document
from app.errors import (
    AppError,
    DatabaseUnavailable,
    DiskFull,
    InternalError,
    InvalidOption,
    Problem,
    StorageUnavailable,
)

_CHALLENGE = 'Bearer realm="fusebox"'  # RFC 6750
_TRY_AGAIN_SECONDS = {409: "1", 429: "5", 503: "5"}
_TRY_AGAIN_OF = {JobNotFinishedYet.code: "1"}

log = logging.getLogger("fusebox.api")

TITLES = {
    404: ("not-found", "Nothing here", "The paths that exist are listed at /openapi.json."),
    405: (
        "method-not-allowed",
        "This path does not know this method",
        "The Allow header lists the ones that it knows.",
    ),
}


def answer_problem(problem: Problem, instance: str, headers: dict[str, str] | None = None) -> Response:
    document = problem_document(
        code=problem.code,
        status=problem.status,
        title=problem.title,
        detail=problem.detail,
        remedy=problem.remedy,
        instance=instance,
        facts=problem.facts,
    )
    return Response(
        document.model_dump_json(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def answer_error(error: AppError, instance: str) -> Response:
    """An error of the tree as its problem, with the time after which to try again where that helps."""
    seconds = _TRY_AGAIN_OF.get(error.code, _TRY_AGAIN_SECONDS.get(error.status))
    headers = {} if seconds is None else {"Retry-After": seconds}
    if error.status == 401:
        headers["WWW-Authenticate"] = _CHALLENGE + (', error="invalid_token"' if isinstance(error, InvalidKey) else "")
    return answer_problem(Problem.of(error), instance, headers)


def install_problems(api: FastAPI) -> None:
    """Have every error leave as a problem document."""
    api.add_exception_handler(AppError, _app_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)
    # Refused or lost connections, locks that are never released, no connection left in the pool.
    for outage in (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError):
        api.add_exception_handler(outage, _database_outage)
    api.add_exception_handler(Exception, _bug)


async def _app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    if isinstance(error, StorageUnavailable):
        log.warning("api.storage_unavailable cause=%r", error.__cause__)
    return answer_error(error, request.url.path)


async def _database_outage(request: Request, error: Exception) -> Response:
    # The driver's words alone: the library adds the statement with its values.
    log.warning("api.database_unavailable cause=%s", str(getattr(error, "orig", error)).strip())
    if "disk is full" in str(error):  # SQLite's own words
        full = DiskFull("The database has no room.", remedy="Ask the operator of this service for more room.")
        return answer_error(full, request.url.path)
    gone = DatabaseUnavailable(
        "The database does not answer.", remedy="Try again in a minute; accepted jobs are not lost."
    )
    return answer_error(gone, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, title, remedy = TITLES.get(error.status_code, ("http-error", "The request can't be served", ""))
    detail = f"{request.method} {request.url.path}: {error.detail}"
    problem = Problem(code, error.status_code, title, detail, remedy)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return answer_problem(problem, request.url.path, headers)


def _methods(request: Request) -> list[str]:
    """The methods that a path knows: each may be a route of its own, and the framework names only the first one's."""
    routes = request.app.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in routes)
    ]


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return answer_problem(Problem.of(InvalidOption(wrong, remedy="See /openapi.json.")), request.url.path)


async def _bug(request: Request, error: Exception) -> Response:
    # The server logs the exception with its traceback; the caller gets neither.
    unknown = InternalError("The request could not be served.", remedy="Try again; the operator finds it in the log.")
    return answer_problem(Problem.of(unknown), request.url.path)
