"""The conversations behind the methods of a job, for both clients."""

import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fusebox_client.options import form_fields
from fusebox_client.problems import JobCanceled, JobExpired, Problem, job_error
from fusebox_client.progress import Progress
from fusebox_client.talk import jobs
from fusebox_client.talk.download import download
from fusebox_client.talk.multipart import FilePart, Form
from fusebox_client.talk.patience import Patience
from fusebox_client.talk.steps import Talk, block
from fusebox_client.talk.watch import Watch, watch
from fusebox_client.views import JobView

Part = Literal["model", "bundle"]


def ignored(_view: JobView) -> None:
    """The listener of those who gave none."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What is uploaded, and who hears of it."""

    model: Path
    probe: Path | None
    filename: str | None
    idempotency_key: str | None
    progress: Callable[[Progress], None]


def submit(sending: Sending, options: Mapping[str, Any], patience: Patience) -> Talk[JobView]:
    """Upload. Raises UnknownOption, OSError, and what the service says."""
    fields = form_fields(options)
    parts = yield from block(lambda: tuple(_parts(sending)))
    form = Form(fields, parts, sending.progress)
    return (yield from jobs.submit(form, sending.idempotency_key or str(uuid.uuid4()), patience))


def _parts(sending: Sending) -> list[FilePart]:
    parts = [FilePart.of("model", sending.model, sending.filename)]
    return parts if sending.probe is None else [*parts, FilePart.of("probe", sending.probe)]


def watched(
    view: JobView, heard: Callable[[JobView], None], timeout: float | None, patience: Patience
) -> Talk[JobView]:
    """The job at its end. Raises StillRunning."""
    if view.ended:
        return view
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    return (yield from watch(Watch(view.id, patience, heard, deadline)))


def check(view: JobView) -> None:
    """Raises JobFailed, JobCanceled or JobExpired for a job that has no result."""
    match view.state:
        case "failed":
            raise job_error(view.problem or Problem("unknown", 0, "The job failed", instance=view.id))
        case "canceled":
            raise JobCanceled(Problem("job-canceled", 410, "The job was canceled", instance=view.id))
        case "expired":
            raise JobExpired(Problem("job-expired", 410, "The job's files are gone", instance=view.id))


def fetch(
    view: JobView,
    part: Part,
    to: str | os.PathLike[str] | None,
    progress: Callable[[Progress], None],
    patience: Patience,
) -> Talk[Path]:
    """The fused file or the bundle of a job that succeeded."""
    target = yield from block(lambda: _target(view, part, to))
    return (yield from download(jobs.job_path(view.id, f"/{part}"), target, progress, patience))


def _target(view: JobView, part: Part, to: str | os.PathLike[str] | None) -> Path:
    """The service's name is one plain name, whatever it says."""
    name = Path(view.output.filename.replace("\\", "/")).name if view.output else ""
    # The system may write names in fewer letters (LC_ALL=C).
    letters = sys.getfilesystemencoding()
    name = name.encode(letters, "replace").decode(letters)
    name = name if name not in ("", ".", "..") else "model.fused"
    if part == "bundle":
        name = f"{Path(name).stem}.zip"
    given = Path(name) if to is None else Path(to)
    return given / name if given.is_dir() else given


def job_url(base: str, view: JobView) -> str:
    page = view.links.get("page") or view.links.get("self") or f"/v1/jobs/{view.id}"
    return str(page) if str(page).startswith(("http://", "https://")) else f"{base}{page}"
