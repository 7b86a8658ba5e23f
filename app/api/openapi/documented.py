"""Problems as OpenAPI tells them: for each status every code that it may carry, with an example."""

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

from app import errors
from app.api import refusals
from app.api.schemas import problem_document
from app.errors import AppError, DatabaseUnavailable, InternalError, StorageUnavailable

MEDIA_TYPE = "application/problem+json"
Responses = dict[int | str, dict[str, Any]]

# What no job can fail of, because there is none yet, or because it is about asking.
_BEFORE_JOBS = (
    errors.NotMultipart,
    errors.MalformedUpload,
    errors.QueueFull,
    errors.TooManyJobs,
    errors.QuotaExceeded,
    errors.DatabaseUnavailable,
    errors.JobNotFound,
    errors.JobNotFinished,
    errors.JobCanceled,
)
# What any request may be answered with, before a route sees it.
_EVERYWHERE = (
    refusals.BadRequest,
    refusals.UnknownHost,
    refusals.TooSlow,
    refusals.UriTooLong,
    refusals.HeadersTooLarge,
    refusals.VersionNotSupported,
    refusals.TooManyConnections,
    refusals.Stopping,
    InternalError,
)
OF_CALLERS: tuple[type[AppError], ...] = (refusals.MissingKey, refusals.InvalidKey, DatabaseUnavailable)
OF_UPLOADS: tuple[type[AppError], ...] = (
    *(errors.NotMultipart, errors.MalformedUpload, errors.InvalidOption, errors.TooLarge, errors.DiskFull),
    *(errors.QueueFull, errors.TooManyJobs, errors.QuotaExceeded, StorageUnavailable),
    *(refusals.CrossSite, refusals.TooManyUploads, refusals.ServiceBusy, refusals.CodingNotSupported),
    *(refusals.DigestInvalid, refusals.DigestUnsupported, refusals.DigestMismatch),
    *(refusals.IdempotencyKeyInvalid, refusals.IdempotencyKeyInUse, refusals.IdempotencyKeyReused),
)


def of_jobs() -> tuple[type[AppError], ...]:
    """What a job may fail of: its own problem is the answer where its result would be."""
    every = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AppError))
    return tuple(kind for kind in every if kind is not AppError and kind not in _BEFORE_JOBS)


def documented(*kinds: type[AppError]) -> Responses:
    """Entries for OpenAPI: these errors, and those that every request may meet."""
    return _by_status(dict.fromkeys((*kinds, *_EVERYWHERE)))


def _by_status(kinds: Iterable[type[AppError]]) -> Responses:
    responses: Responses = {}
    for kind in kinds:
        answer = responses.setdefault(kind.status, _answer(kind.status))
        answer["content"][MEDIA_TYPE]["examples"][kind.code] = {"summary": kind.title, "value": _example(kind)}
    for answer in responses.values():
        codes = answer["content"][MEDIA_TYPE]["examples"]
        answer["description"] = f"A problem: {', '.join(f'`{code}`' for code in codes)}."
    return responses


def _answer(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "examples": {}}}
    answer: dict[str, Any] = {"content": content}
    if status in (409, 429, 503):
        answer["headers"] = {"Retry-After": _header("integer", "Seconds after which to try again.")}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": _header("string", "How to identify (RFC 6750).")}
    return answer


def _header(kind: str, description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _example(kind: type[AppError]) -> dict[str, Any]:
    """The code and title are those that are sent; detail and remedy then speak of the case at hand."""
    document = problem_document(
        code=kind.code,
        status=kind.status,
        title=kind.title,
        detail=cleandoc(kind.__doc__ or "").split("\n\n")[0],
        remedy="What to do about it.",
        instance="/v1/jobs/0123456789abcdef0123456789abcdef",
        facts={},
    )
    return document.model_dump(mode="json")
