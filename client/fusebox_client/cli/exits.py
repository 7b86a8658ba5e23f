"""Exit codes, and which error ends the program with which."""

from enum import IntEnum

from fusebox_client.connection import NoUrl, UnusableKey, UnusableUrl
from fusebox_client.options import UnknownOption
from fusebox_client.problems import FuseboxError, JobError, NotEquivalent, RefusedRequest
from fusebox_client.talk.multipart import FileChanged


class Exit(IntEnum):
    """What a pipeline can rely on."""

    OK = 0
    JOB_FAILED = 1  # the file could not be fused, or there is no result any more
    USAGE = 2  # what was typed or sent can't be served: another attempt changes nothing
    GATE = 3  # fused, but not as was demanded
    SERVICE = 4  # the service is not there, or takes no more for now: another attempt may do
    INTERRUPTED = 130  # Ctrl-C
    NOT_READ = 141  # who read the output has left; as the shell says of a program that SIGPIPE ended


def exit_of(error: FuseboxError | OSError, demanded_error: float | None = None) -> Exit:
    """A job that failed for the caller's own limit on errors has missed a gate."""
    if isinstance(error, NotEquivalent) and demanded_error is not None and _within_noise(error):
        return Exit.GATE
    if isinstance(error, JobError):
        return Exit.JOB_FAILED
    if isinstance(error, RefusedRequest | NoUrl | UnusableKey | UnusableUrl | UnknownOption | FileChanged | OSError):
        return Exit.USAGE
    return Exit.SERVICE


def _within_noise(error: NotEquivalent) -> bool:
    """Whether only the caller's limit was exceeded: the service's own is four times the original's noise."""
    equivalence = error.problem.facts.get("equivalence")
    native = equivalence.get("native") if isinstance(equivalence, dict) else None
    if not isinstance(native, dict):
        return False
    relative, noise = native.get("relative"), native.get("noise")
    return isinstance(relative, float) and isinstance(noise, float) and relative <= 4 * noise
