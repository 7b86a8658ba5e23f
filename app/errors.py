"""The error tree: what can be wrong with a request or a file, with a stable code, an HTTP status and a remedy."""

import errno
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

# EFBIG is the limit on file sizes (ulimit -f): for the caller it is the same.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AppError(Exception):
    """The caller's problem, never ours.

    `str(error)` names the offending value and the limit. `remedy` says what to do. `facts` holds further
    JSON-compatible members for the problem document (RFC 9457), the list of names found for example.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request can't be served"

    def __init__(self, detail: str, *, remedy: str = "", **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.facts = facts


class CanNotStart(Exception):
    """A process can't work with the database, store, disk or memory that it has; the operator's problem.

    The text names no password.
    """


class InvalidOption(AppError):
    """An option has a value that it can't have."""

    code = "invalid-option"
    status = 422
    title = "An option is not valid"


class UnsupportedFormat(AppError):
    """The bytes are of a kind that no reader here takes."""

    code = "unsupported-format"
    status = 415
    title = "This kind of file is not supported"


class MalformedFile(AppError):
    """The file claims to be of a known kind and breaks its rules."""

    code = "malformed-file"
    status = 422
    title = "The file is damaged or not what it claims to be"


class TooLarge(AppError):
    """A size, depth or count is above its limit."""

    code = "too-large"
    status = 413
    title = "Too large"


class UnsupportedContent(AppError):
    """The file is sound, but holds something that this version can't use."""

    code = "unsupported-content"
    status = 422
    title = "The file holds something that can't be used"


class UnsafeGlobals(UnsupportedContent):
    """The pickle names callables that its loader would run, beyond building modules and tensors."""

    code = "unsafe-globals"
    title = "The file would run code where it is loaded"


class NeedsArchitecture(AppError):
    """A bare state dict: neither eps nor data flow is in the file."""

    code = "state-dict-needs-model"
    status = 422
    title = "The file holds weights without the model"


class UnknownArchitecture(AppError):
    """Nobody here knows how a model of this name is built."""

    code = "unknown-architecture"
    status = 422
    title = "No architecture of this name is known"


class ArchitectureMismatch(AppError):
    """The names or shapes of a state dict are not those of the architecture that it is said to belong to."""

    code = "architecture-mismatch"
    status = 422
    title = "The weights do not belong to this architecture"


class InvalidPlan(AppError):
    """The caller's plan says something that can't be, of a path that is named."""

    code = "invalid-plan"
    status = 422
    title = "The plan does not fit the file"


class InvalidProbe(AppError):
    """The caller's own inputs can't be read, or are none that the model takes."""

    code = "invalid-probe"
    status = 422
    title = "The inputs for the comparison can't be used"


class NothingToFuse(AppError):
    """No module was found in the file."""

    code = "no-model-found"
    status = 422
    title = "No model was found in the file"


class NotEquivalent(AppError):
    """The fused model's outputs moved by more than allowed: no model is returned."""

    code = "not-equivalent"
    status = 422
    title = "The outputs moved by more than the limit"


class NotMultipart(AppError):
    """The body of an upload is not multipart/form-data."""

    code = "not-multipart"
    status = 415
    title = "The body is not a form upload"


class MalformedUpload(AppError):
    """The multipart body breaks its own rules, or holds other parts than it should."""

    code = "malformed-upload"
    status = 422
    title = "The upload can't be read"


class DiskFull(AppError):
    """There is no room for the upload, or for what is made of it."""

    code = "disk-full"
    status = 507
    title = "No room on the disk"

    @classmethod
    def of(cls, error: OSError) -> Self | None:
        """What the system said of a full disk; None where it said something else."""
        if error.errno not in _FULL:
            return None
        return cls(
            f"The file could not be stored: {os.strerror(error.errno)}.",
            remedy="Try again later, or ask the operator of this service for more room.",
        )


class QueueFull(AppError):
    """As many jobs wait as the service lets wait."""

    code = "queue-full"
    status = 503
    title = "Too many jobs are waiting"


class TooManyJobs(AppError):
    """As many jobs of this key wait or run as one key may have."""

    code = "too-many-jobs"
    status = 429
    title = "Too many unfinished jobs of this key"


class QuotaExceeded(AppError):
    """The files of this key take as much room as one key may have."""

    code = "quota-exceeded"
    status = 507
    title = "The room for files of this key is used up"


class StorageUnavailable(AppError):
    """The place where uploads and results lie does not answer."""

    code = "storage-unavailable"
    status = 503
    title = "The store of files can't be used now"


class DatabaseUnavailable(AppError):
    """The database of jobs does not answer."""

    code = "database-unavailable"
    status = 503
    title = "The database can't be used now"


class JobNotFound(AppError):
    """No job has this id."""

    code = "job-not-found"
    status = 404
    title = "No such job"


class JobNotFinished(AppError):
    """The result is asked for before it exists."""

    code = "job-not-finished"
    status = 409
    title = "The job is not finished"


class JobCanceled(AppError):
    """The job was canceled, so there is no result."""

    code = "job-canceled"
    status = 410
    title = "The job was canceled"


class JobExpired(AppError):
    """The job's files were removed."""

    code = "job-expired"
    status = 410
    title = "The job's files are gone"


class WorkerCrashed(AppError):
    """The process that worked on the file died, every time it was tried."""

    code = "worker-crashed"
    status = 422
    title = "The process that worked on the file died"


class OutOfMemory(AppError):
    """The process that worked on the file ran out of memory."""

    code = "out-of-memory"
    status = 413
    title = "The file needs more memory than there is"


class DeviceUnusable(AppError):
    """The GPU that was asked for is not there, is not supported, or fails."""

    code = "device-unusable"
    status = 503
    title = "The GPU can't be used"


class ForbiddenCall(AppError):
    """The process that worked on the file tried what nothing that reads a model ever does."""

    code = "forbidden-call"
    status = 422
    title = "The file made its process try something forbidden"


class TimedOut(AppError):
    """The job took longer than the limit."""

    code = "timed-out"
    status = 422
    title = "The job took too long"


class InternalError(AppError):
    """Our bug: shown without its inner workings."""

    code = "internal-error"
    status = 500
    title = "Something went wrong on our side"


@dataclass(frozen=True, slots=True)
class Problem:
    """An AppError as data: what a job row, a message of the sandbox and a problem document hold."""

    code: str
    status: int
    title: str
    detail: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: AppError) -> "Problem":
        return cls(error.code, error.status, error.title, error.detail, error.remedy, dict(error.facts))


def is_known(problem: Problem) -> bool:
    """Whether its code is one of the tree above, and status and title are that one's."""
    return (problem.code, problem.status, problem.title) in {
        (kind.code, kind.status, kind.title) for kind in _kinds(AppError)
    }


def _kinds(kind: type[AppError]) -> list[type[AppError]]:
    return [kind, *(one for inner in kind.__subclasses__() for one in _kinds(inner))]
