"""What a child leaves behind, taken as the word of a stranger: looked at, measured anew, and only then stored."""

import hashlib
import os
import stat
from pathlib import Path

from pydantic import ValidationError

from app.jobs.job import Job, Output
from app.report import Report, fused_filename
from app.storage import Blobs, output_keys

_MAX_REPORT_BYTES = 64 << 20  # parsed, it may take twenty times as much
_PIECE = 1 << 20
# What a state dict may become instead of itself: the option `output`.
_SUFFIXES = ("pt2", "onnx")


class NotAResult(Exception):
    """The child says that it succeeded, and what it left is no result."""


def store(blobs: Blobs, job: Job, directory: Path) -> Output:
    """Store the child's model and our own copy of its report. Raises NotAResult."""
    model, written = directory / "work" / "output", directory / "work" / "report.json"
    report = _read_report(written)
    size, sha256 = _measure(model)
    _compare(report, job, size, sha256)
    ours = directory / "report.json"
    ours.write_text(report.model_dump_json(), encoding="utf-8")
    model_key, report_key = output_keys(job.id, job.attempt)
    blobs.take(model, model_key)
    blobs.take(ours, report_key)
    return Output(report.output.filename, size, sha256, model_key, report_key)


def _compare(report: Report, job: Job, size: int, sha256: str) -> None:
    """Hold the report to what is known here: the upload, and the file that lies there."""
    if (report.output.bytes, report.output.sha256) != (size, sha256):
        raise NotAResult("the report speaks of another output file")
    if (report.input.bytes, report.input.sha256) != (job.input.bytes, job.input.sha256):
        raise NotAResult("the report speaks of another upload")
    if report.input.filename != job.input.filename or report.output.filename not in _names(job.input.filename):
        raise NotAResult("the report gives files other names")


def _names(uploaded: str) -> set[str]:
    """What the fused file may be called."""
    fused = fused_filename(uploaded)
    return {fused, *(f"{fused.rpartition('.')[0]}.{suffix}" for suffix in _SUFFIXES)}


def _read_report(path: Path) -> Report:
    descriptor = _open_plain(path)
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(_MAX_REPORT_BYTES + 1)
    if len(text) > _MAX_REPORT_BYTES:
        raise NotAResult(f"a report of more than {_MAX_REPORT_BYTES:,} bytes")
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise NotAResult(f"no report: {str(error)[:500]}") from None


def _measure(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(_open_plain(path), "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        if os.stat(path, follow_symlinks=False).st_ino != os.fstat(file.fileno()).st_ino:
            raise NotAResult(f"{path.name} was exchanged")
    return size, digest.hexdigest()


def _open_plain(path: Path) -> int:
    """A link to another file must not become somebody's download, and a pipe must not hold the worker."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotAResult(f"{path.name} is not a plain file of its own: {error.strerror}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise NotAResult(f"{path.name} is not a plain file of its own")
    return descriptor
