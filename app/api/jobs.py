"""/v1/jobs: a job's state, its model, its report, and its end."""

from typing import Any

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.deps import BaseUrl, CallerDep, Service, ServiceDep
from app.api.documented import OF_CALLERS, documented, of_jobs
from app.api.downloads import Download, send_download
from app.api.problems import answer_problem
from app.api.refusals import CrossSite, RangeNotSatisfiable
from app.api.schemas import JobView, job_path, view_job
from app.api.waiting import WaitDep, job_or_404, wait_for
from app.errors import InvalidOption, JobCanceled, JobExpired, JobNotFinished, JobNotFound, StorageUnavailable
from app.jobs.job import Job, Output
from app.jobs.table import cancel, expire, read_job
from app.report import Report
from app.storage import BlobNotFound, job_prefix

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

BYTES = {"schema": {"type": "string", "format": "binary"}}
_OF_RESULTS = (*OF_CALLERS, JobNotFound, JobNotFinished, JobCanceled, *of_jobs())
_MODEL: dict[int | str, dict[str, Any]] = {
    200: {"description": "The fused file.", "content": {"application/octet-stream": BYTES}},
    206: {"description": "The range of it that was asked for.", "content": {"application/octet-stream": BYTES}},
    304: {"description": "Not changed."},
}


@router.head("/{job_id}", include_in_schema=False)
@router.get("/{job_id}", response_model=JobView, responses=documented(*OF_CALLERS, JobNotFound, InvalidOption))
async def read_state(
    job_id: str, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep, request: Request
) -> Response:
    """Where a job stands; with `wait`, as soon as it is finished."""
    job = await wait_for(service, caller, job_id, wait, request)
    return answer_job(job, base_url, 200, wait.headers)


@router.head("/{job_id}/model", include_in_schema=False)
@router.get(
    "/{job_id}/model", response_class=Response, responses=_MODEL | documented(*_OF_RESULTS, RangeNotSatisfiable)
)
async def read_model(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The fused file. Without a result: 409 while the job goes on, else the problem for which there is none."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await answer_model(service, job, request, wait.headers)


@router.head("/{job_id}/report", include_in_schema=False)
@router.get("/{job_id}/report", response_model=Report, responses=documented(*_OF_RESULTS))
async def read_report(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The report on a fused file: what was replaced, refused and removed, and how far the outputs moved."""
    job = await wait_for(service, caller, job_id, wait, request)
    output = _output(job)
    if isinstance(output, Response):
        return output
    report = await anyio.to_thread.run_sync(_read_blob, service, output.report_key)
    return Response(report, media_type="application/json", headers=wait.headers)


@router.delete(
    "/{job_id}", response_model=JobView, responses=documented(*OF_CALLERS, CrossSite, JobNotFound, StorageUnavailable)
)
async def delete(job_id: str, service: ServiceDep, caller: CallerDep, base_url: BaseUrl) -> Response:
    """End a job and remove its files.

    A queued or running job becomes `canceled`; a finished one `expired`. Doing it again changes nothing.
    """
    job = await job_or_404(service, caller, job_id)
    if job.state != "canceled":
        await anyio.to_thread.run_sync(_end, service, job)
    return answer_job(await job_or_404(service, caller, job_id), base_url, 200)


def answer_job(job: Job, base_url: str, status: int, headers: dict[str, str] | None = None) -> Response:
    more = {} if job.finished else {"Retry-After": "1"}
    return Response(
        view_job(job, base_url).model_dump_json(),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **more, **(headers or {})},
    )


async def answer_model(service: Service, job: Job, request: Request, headers: dict[str, str]) -> Response:
    """The model's bytes, or the problem why there are none."""
    output = _output(job)
    if isinstance(output, Response):
        output.headers.update(headers)
        return output
    links = {
        "Link": f'<{job_path(job.id, "/report")}>; rel="describedby"',
        "Content-Location": job_path(job.id, "/model"),
    }
    download = Download(output.model_key, output.filename, output.bytes, output.sha256, {**links, **headers})
    return await anyio.to_thread.run_sync(send_download, service.blobs, download, request)


def _output(job: Job) -> Output | Response:
    """The result. Raises JobNotFinished, JobCanceled, JobExpired; a failed job answers with its own problem."""
    if job.output is not None:
        return job.output
    path = job_path(job.id)
    match job.state:
        case "queued" | "running":
            raise JobNotFinished(f"The job is {job.state}.", remedy=f"Ask again, or wait: {path}/model?wait=120")
        case "canceled":
            raise JobCanceled("The job was canceled.", remedy="Upload the checkpoint again.")
        case "failed" if job.problem is not None:
            return answer_problem(job.problem, path)
        case _:
            raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.")


def _read_blob(service: Service, key: str) -> bytes:
    try:
        return b"".join(service.blobs.read(key, 0, 1 << 40))
    except BlobNotFound:
        raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.") from None


def _end(service: Service, job: Job) -> None:
    # It may finish in between: then there is something to expire. Canceled in between, by a caller who asked twice, it
    # stays so.
    if cancel(service.engine, job.id) or (not _canceled(service, job) and expire(service.engine, job.id)):
        service.blobs.delete_prefix(job_prefix(job.id))


def _canceled(service: Service, job: Job) -> bool:
    found = read_job(service.engine, job.id)
    return found is not None and found.state == "canceled"
