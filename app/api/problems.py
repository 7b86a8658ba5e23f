"""Every error answer of the API, as an RFC 9457 problem document. One of the three doors where a bug is caught."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from app.api.schemas import problem_document
from app.errors import AppError, InternalError, InvalidOption, Problem

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    404: ("not-found", "Nothing here", "The paths that exist are listed at /openapi.json."),
    405: (
        "method-not-allowed",
        "This path does not know this method",
        "The Allow header lists the ones that it knows.",
    ),
    406: ("not-acceptable", "No answer of the asked kind", "Leave out the Accept header."),
}


def answer_problem(
    problem: Problem, instance: str, headers: dict[str, str] | None = None, *, close: bool = False
) -> Response:
    """`close` ends the connection: what is left of a refused upload is not read."""
    document = problem_document(
        code=problem.code,
        status=problem.status,
        title=problem.title,
        detail=problem.detail,
        remedy=problem.remedy,
        instance=instance,
        facts=problem.facts,
    )
    more = {"Connection": "close"} if close else {}
    return Response(
        document.model_dump_json(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **more, **(headers or {})},
    )


def install_problems(api: FastAPI) -> None:
    """Have every error leave as a problem document."""
    api.add_exception_handler(AppError, _app_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)
    api.add_exception_handler(Exception, _bug)


async def _app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    headers = {"Retry-After": "1"} if error.status in (409, 503) else {}
    return answer_problem(Problem.of(error), request.url.path, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, title, remedy = _TITLES.get(error.status_code, ("http-error", "The request can't be served", ""))
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
    return answer_problem(Problem.of(unknown), request.url.path, close=True)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Entries for OpenAPI: these statuses are answered with a problem document."""
    reference = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    return {
        status: {"description": "A problem; see its `code` and `remedy`.", "content": {MEDIA_TYPE: reference}}
        for status in statuses
    }
