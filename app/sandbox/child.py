"""The child: one job, in its own process. It parses hostile bytes, fuses, verifies and writes; it holds no secret."""

import errno
import fcntl
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

from app.devices.use import fault_of, is_shortage, make_ready
from app.engine import fuse_checkpoint, recognise_checkpoint
from app.errors import AppError, DiskFull, InternalError, OutOfMemory, Problem
from app.report import Recognised
from app.sandbox.bounds import bounded, bounded_recognised
from app.sandbox.confine import Terms, confine, die_with_parent
from app.sandbox.trials import attempt
from app.sandbox.wire import Faulted, Finished, Progress, Recognition, Rejected, Request, Trial, Tried, write

# The descriptors that a child has: nothing to read, its words (twice), and its channel to the worker.
CHANNEL = 3
_PATIENCE = 10  # of a look: whatever fuses goes first


def run_child(request: Request | Trial, channel: int, words: int, parent: int) -> NoReturn:
    """Do the job and end the process; never returns into the warm parent's code."""
    code = 1
    try:
        die_with_parent(parent)
        _keep_only(channel, words)
        terms = terms_of(request)
        _make_at_home(terms.work)
        if isinstance(request, Request) and request.look:
            os.nice(_PATIENCE)
        confine(terms)
        write(CHANNEL, _answer(request, parent))
        code = 0
    except BrokenPipeError:
        pass  # Nobody waits for the answer any more.
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def terms_of(request: Request | Trial) -> Terms:
    directory = Path(request.directory)
    probed = isinstance(request, Request) and request.probe
    return Terms(
        mode=request.mode,
        given=(directory / "input", directory / "probe") if probed else (directory / "input",),
        work=directory / "work",
        limits=request.limits,
        cuda=request.device != "cpu",
    )


def _keep_only(channel: int, words: int) -> None:
    """Close every descriptor of the warm parent but those that are handed over, which get places of their own."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    handed = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, CHANNEL + 1) for one in (nothing, words, words, channel)]
    for place, one in enumerate(handed):
        os.dup2(one, place, inheritable=False)
    os.closerange(CHANNEL + 1, max(map(int, os.listdir("/proc/self/fd"))) + 1)


def _make_at_home(work: Path) -> None:
    """Libraries keep scratch files, and ask for the user's name: neither is to be looked for elsewhere."""
    os.environ |= {"TMPDIR": str(work), "HOME": str(work), "USER": "fusebox", "LOGNAME": "fusebox"}
    tempfile.tempdir = str(work)


def _answer(request: Request | Trial, parent: int) -> Finished | Rejected | Faulted | Tried:
    try:
        if isinstance(request, Trial):
            return attempt(request, parent)
        _look(request) if request.look else _fuse(request)
    except Exception as error:
        return _failure(error, request)
    return Finished()


def _tell(recognised: Recognised) -> None:
    write(CHANNEL, Recognition(recognised=bounded_recognised(recognised)))


def _look(request: Request) -> None:
    source, names = Path(request.directory, "input"), request.allowed_globals
    _tell(recognise_checkpoint(source, request.options, allowed_globals=names))


def _fuse(request: Request) -> None:
    def progress(phase: str) -> None:
        write(CHANNEL, Progress.model_validate({"phase": phase}))

    if request.device != "cpu":
        make_ready(request.device, request.limits.device_memory)
    report = fuse_checkpoint(
        Path(request.directory, "input"),
        Path("output"),
        request.options,
        filename=request.filename,
        sha256=request.sha256,
        probe=Path(request.directory, "probe") if request.probe else None,
        device=request.device,
        progress=progress,
        tell=_tell,
        allowed_globals=request.allowed_globals,
    )
    Path("report.json").write_text(report.model_dump_json(), encoding="utf-8")


def _failure(error: Exception, request: Request | Trial) -> Rejected | Faulted:
    """What is wrong with the file or the GPU; what nobody expected: a shortage that is told as one, or our bug."""
    fault = fault_of(error)
    if fault is not None:
        traceback.print_exception(error)
        return Faulted(fault=fault)
    if is_shortage(error):
        return Rejected(problem=Problem.of(_device_too_small(request)))
    if isinstance(error, AppError):
        return Rejected(problem=bounded(Problem.of(error)))
    full = DiskFull.of(error) if isinstance(error, OSError) else None
    if full is not None:
        return Rejected(problem=Problem.of(full))
    return _out_of_memory() if _is_shortage(error) else _bug(error)


def _is_shortage(error: Exception) -> bool:
    match error:
        case MemoryError():
            return True
        case OSError():
            return error.errno == errno.ENOMEM
        case RuntimeError():
            # torch has no class of its own for a failed allocation on the CPU.
            return any(text in str(error) for text in ("not enough memory", "can't allocate memory"))
    return False


def _device_too_small(request: Request | Trial) -> OutOfMemory:
    limit = request.limits.device_memory
    return OutOfMemory(
        f"The job needed more than {limit:,} bytes of the GPU's memory, or than was free of it.",
        remedy="Try again when the GPU is idle, give smaller inputs (probe_shape, probe), or ask the operator to raise "
        "FUSEBOX_JOB_DEVICE_MEMORY_BYTES or to run a worker on the CPU.",
        limit=limit,
    )


def _out_of_memory() -> Rejected:
    return Rejected(
        problem=Problem.of(
            OutOfMemory(
                "The job needed more memory than it may use.",
                remedy="Upload the model without optimizer and duplicates, or ask the operator to raise "
                "FUSEBOX_JOB_MEMORY_BYTES.",
            )
        )
    )


def _bug(error: Exception) -> Rejected:
    traceback.print_exception(error)
    return Rejected(
        problem=Problem.of(
            InternalError(
                f"The engine failed with {type(error).__name__}.",
                remedy="This is a bug: please report it with the checkpoint, or the class names that it uses.",
            )
        )
    )
