"""What can go wrong, as exceptions. What the service says (RFC 9457 problem documents) keeps its stable code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

_OWN = ("status", "title", "detail", "code", "remedy", "instance", "type")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document: `code` is for programs, `title`, `detail` and `remedy` are for people."""

    code: str
    status: int
    title: str
    detail: str = ""
    remedy: str = ""
    instance: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        what = ": ".join(part.rstrip(".") for part in (self.title, self.detail) if part)
        todo = f" What to do: {self.remedy.rstrip('.')}." if self.remedy else ""
        return f"{what}.{todo} [{self.code}]"


class FuseboxError(Exception):
    """Anything that this package raises on purpose."""


class Unreachable(FuseboxError):
    """The service does not answer, though it was tried again."""


class UnexpectedAnswer(FuseboxError):
    """Something answers that is not this service, or speaks another version of its language."""


class AnswerTooLarge(UnexpectedAnswer):
    """More comes than any answer of the service holds: it was not read on."""


class DigestMismatch(FuseboxError):
    """The bytes that arrived are not those that were sent, in either direction."""


class StillRunning(FuseboxError):
    """The job was not finished when the time was up. It goes on."""


class ProblemError(FuseboxError):
    """The service, or the job, says what is wrong."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @property
    def code(self) -> str:
        return self.problem.code


class RefusedRequest(ProblemError):
    """The request can't be served as it is: an option, the file, the form."""


class Unauthorized(RefusedRequest):
    """A key is needed, or this one is not valid."""


class JobNotFound(RefusedRequest):
    """There is no such job for this key."""


class IdempotencyKeyReused(RefusedRequest):
    """The key of an earlier upload came with another file or other options."""


class Busy(ProblemError):
    """The service takes no more for now: later it may."""


class ServiceFault(ProblemError):
    """Something is wrong on the side of the service."""


class JobError(ProblemError):
    """There is no result of this job."""


class JobFailed(JobError):
    """The job ended in a problem."""


class NotEquivalent(JobFailed):
    """The outputs moved by more than the limit: no model is returned."""


class UnsafeFile(JobFailed):
    """The file would run code where it is loaded."""


class JobCanceled(JobError):
    """The job was canceled."""


class JobExpired(JobError):
    """The files of the job are gone."""


_BY_CODE: Mapping[str, type[ProblemError]] = {
    "missing-key": Unauthorized,
    "invalid-key": Unauthorized,
    "job-not-found": JobNotFound,
    "idempotency-key-reused": IdempotencyKeyReused,
    "job-canceled": JobCanceled,
    "job-expired": JobExpired,
}
_FAILURES: Mapping[str, type[JobFailed]] = {"not-equivalent": NotEquivalent, "unsafe-globals": UnsafeFile}
_LATER = (408, 409, 425, 429, 503, 507)


def request_error(problem: Problem) -> ProblemError:
    """The exception for a request that was answered with this problem."""
    kind = _BY_CODE.get(problem.code)
    if kind is None:
        kind = Busy if problem.status in _LATER else ServiceFault if problem.status >= 500 else RefusedRequest
    return kind(problem)


def job_error(problem: Problem) -> JobFailed:
    """The exception for a job that failed of this problem."""
    return _FAILURES.get(problem.code, JobFailed)(problem)


def read_problem(document: Mapping[str, Any]) -> Problem:
    """A problem from its JSON; what is missing is made up of what is there."""
    status = document.get("status")
    return Problem(
        code=str(document.get("code") or "unknown"),
        status=status if isinstance(status, int) else 0,
        title=str(document.get("title") or "The request can't be served"),
        detail=str(document.get("detail") or ""),
        remedy=str(document.get("remedy") or ""),
        instance=str(document.get("instance") or ""),
        facts={name: value for name, value in document.items() if name not in _OWN},
    )


def answer_error(answer: httpx.Response) -> FuseboxError:
    """The exception for an answer that is none of those that were hoped for; its body has been read."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "application/problem+json":
        document = _json(answer)
        if isinstance(document, dict):
            return request_error(read_problem({"status": answer.status_code, **document}))
    request = f"{answer.request.method} {answer.request.url}"
    if answer.is_redirect:
        target = answer.headers.get("location", "elsewhere")
        return UnexpectedAnswer(f"{request} is redirected to {target}: give that service's URL.")
    if answer.status_code >= 500:
        problem = Problem("http-error", answer.status_code, f"{request} was answered with {answer.status_code}")
        return request_error(problem)
    what = kind or "nothing"
    return UnexpectedAnswer(f"{request} was answered with {answer.status_code} and {what}: is that a Fusebox service?")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError):  # the second: of lists in lists in lists
        return None
