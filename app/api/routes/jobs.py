"""/v1/jobs/{id}: where a job stands, and how its caller ends it."""

from typing import Any

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.deps import BaseUrl, CallerDep, Service, ServiceDep
from app.api.openapi.documented import OF_CALLERS, documented
from app.api.refusals import CrossSite, PreconditionFailed
from app.api.schemas import JobView, view_job
from app.api.sending.conditions import check_match, etag_of, names
from app.api.waiting import WaitDep, job_or_404, wait_for
from app.errors import InvalidOption, JobNotFound, StorageUnavailable
from app.jobs.job import Job
from app.jobs.table import cancel, expire, read_job
from app.storage import job_prefix

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_NOT_CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed."}}


@router.head("/{job_id}", include_in_schema=False)
@router.get(
    "/{job_id}",
    response_model=JobView,
    responses=_NOT_CHANGED | documented(*OF_CALLERS, JobNotFound, InvalidOption, PreconditionFailed),
)
async def read_state(
    job_id: str, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep, request: Request
) -> Response:
    """Where a job stands; with `wait`, as soon as it is finished.

    With If-None-Match and `wait`: as soon as anything changed, and 304 when the time is up.
    """
    known, wanted = (request.headers.getlist(name) for name in ("if-none-match", "if-match"))
    if wanted:
        check_match(wanted, etag_of(body_of(await job_or_404(service, caller, job_id), base_url)))
    if not known:
        job = await wait_for(service, caller, job_id, wait, request)
        return _with_etag(answer_job(job, base_url, 200, wait.headers))

    def changed(job: Job) -> bool:
        return job.finished or not names(known, etag_of(body_of(job, base_url)))

    job = await wait_for(service, caller, job_id, wait, request, changed)
    answer = _with_etag(answer_job(job, base_url, 200, wait.headers))
    if names(known, answer.headers["etag"]):
        return Response(status_code=304, headers={name: answer.headers[name] for name in ("etag", "cache-control")})
    return answer


@router.delete(
    "/{job_id}",
    response_model=JobView,
    responses=documented(*OF_CALLERS, CrossSite, JobNotFound, PreconditionFailed, StorageUnavailable),
)
async def delete(job_id: str, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, request: Request) -> Response:
    """End a job and remove its files; with If-Match, only if it still stands where the caller saw it.

    A queued or running job becomes `canceled`; a finished one `expired`. Doing it again changes nothing.
    """
    job = await job_or_404(service, caller, job_id)
    check_match(request.headers.getlist("if-match"), etag_of(body_of(job, base_url)))
    if job.state != "canceled":
        await anyio.to_thread.run_sync(_end, service, job)
    return answer_job(await job_or_404(service, caller, job_id), base_url, 200)


def answer_job(job: Job, base_url: str, status: int, headers: dict[str, str] | None = None) -> Response:
    more = {} if job.finished else {"Retry-After": "1"}
    return Response(
        body_of(job, base_url),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **more, **(headers or {})},
    )


def body_of(job: Job, base_url: str) -> bytes:
    return view_job(job, base_url).model_dump_json().encode()


def _with_etag(answer: Response) -> Response:
    answer.headers["ETag"] = etag_of(bytes(answer.body))
    return answer


def _end(service: Service, job: Job) -> None:
    # It may finish in between: then there is something to expire. Canceled in between, by a caller who asked twice, it
    # stays so.
    if cancel(service.engine, job.id) or (not _canceled(service, job) and expire(service.engine, job.id)):
        service.blobs.delete_prefix(job_prefix(job.id))


def _canceled(service: Service, job: Job) -> bool:
    found = read_job(service.engine, job.id)
    return found is not None and found.state == "canceled"
