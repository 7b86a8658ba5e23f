"""/v1/jobs/{id}/model, /report and /bundle: what came of a job."""

from functools import partial
from typing import Any

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.deps import CallerDep, Service, ServiceDep
from app.api.openapi.documented import OF_CALLERS, documented, of_jobs
from app.api.problems import answer_problem
from app.api.refusals import PreconditionFailed, RangeNotSatisfiable
from app.api.schemas import job_path
from app.api.sending.downloads import Download, send_download
from app.api.sending.negotiation import preferred, takes_gzip
from app.api.sending.reports import HTML, JSON, MARKDOWN, PYTHON, report_of
from app.api.sending.results import model_of
from app.api.waiting import WaitDep, wait_for
from app.errors import InvalidOption, JobCanceled, JobExpired, JobNotFinished, JobNotFound
from app.jobs.job import Job, Output
from app.report import Report

router = APIRouter(prefix="/v1/jobs", tags=["results"])

BYTES = {"schema": {"type": "string", "format": "binary"}}
_OF_RESULTS = (
    *(*OF_CALLERS, InvalidOption, JobNotFound, JobNotFinished, JobCanceled),
    *(PreconditionFailed, RangeNotSatisfiable),
    *of_jobs(),
)


def _answers(what: str, media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: BYTES}
    return {
        200: {"description": f"{what}.", "content": content},
        206: {"description": "The range of it that was asked for.", "content": content},
        304: {"description": "Not changed."},
        **documented(*_OF_RESULTS),
    }


_MODEL = _answers("The fused file", "application/octet-stream")
_BUNDLE = _answers("A zip archive of the fused file and `report.json`", "application/zip")
_REPORT: dict[int | str, dict[str, Any]] = _answers("The report", JSON)
_REPORT[200]["content"] = {
    JSON: {"schema": {"$ref": "#/components/schemas/Report"}},
    **{kind: {"schema": {"type": "string"}} for kind in (MARKDOWN, HTML)},
}
_REPORT[206]["content"] |= dict.fromkeys((MARKDOWN, HTML), BYTES)


@router.head("/{job_id}/model", include_in_schema=False)
@router.get("/{job_id}/model", response_class=Response, responses=_MODEL)
async def read_model(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The fused file. Without a result: 409 while the job goes on, else the problem for which there is none."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await answer_model(service, job, request, wait.headers)


@router.head("/{job_id}/bundle", include_in_schema=False)
@router.get("/{job_id}/bundle", response_class=Response, responses=_BUNDLE)
async def read_bundle(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The fused file and its report in one zip archive, `report.json` beside the model. Answers as `/model` does."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await answer_bundle(service, job, request, wait.headers)


@router.head("/{job_id}/report", include_in_schema=False)
@router.get("/{job_id}/report", response_model=Report, responses=_REPORT)
async def show_report(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The report on a fused file: what was replaced, refused and removed, and how far the outputs moved.

    As JSON, or, by the Accept header, as Markdown or as a page that holds all it needs.
    """
    kind = preferred(request.headers.getlist("accept"), (JSON, MARKDOWN, HTML))
    job = await wait_for(service, caller, job_id, wait, request)
    return await _answer_report(service, job, kind, request, wait.headers | {"Vary": "Accept"})


@router.head("/{job_id}/report.md", include_in_schema=False)
@router.get("/{job_id}/report.md", response_class=Response, responses=_answers("The report as Markdown", MARKDOWN))
async def show_markdown(
    job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request
) -> Response:
    """The report as Markdown, for the summary of a pipeline."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await _answer_report(service, job, MARKDOWN, request, wait.headers)


@router.head("/{job_id}/report.html", include_in_schema=False)
@router.get("/{job_id}/report.html", response_class=Response, responses=_answers("The report as a page", HTML))
async def show_page(job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request) -> Response:
    """The report as one page that asks nobody for anything: to be kept, or sent to others."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await _answer_report(service, job, HTML, request, wait.headers)


@router.head("/{job_id}/comparison.py", include_in_schema=False)
@router.get(
    "/{job_id}/comparison.py",
    response_class=Response,
    responses=_answers("A program that loads both files and compares their outputs", PYTHON),
)
async def show_program(
    job_id: str, service: ServiceDep, caller: CallerDep, wait: WaitDep, request: Request
) -> Response:
    """The program with which users compare both files in their own environment, with their own classes."""
    job = await wait_for(service, caller, job_id, wait, request)
    return await _answer_report(service, job, PYTHON, request, wait.headers)


async def _answer_report(service: Service, job: Job, kind: str, request: Request, headers: dict[str, str]) -> Response:
    output = _output(job)
    if isinstance(output, Response):
        output.headers.update(headers)
        return output
    # Ranges are of the text itself: who continues a download may have begun it anywhere.
    packed = "range" not in request.headers and takes_gzip(request.headers.getlist("accept-encoding"))
    report = await anyio.to_thread.run_sync(partial(report_of, service.blobs, output, kind, packed=packed))
    answer = send_download(report, request)
    answer.headers.update(headers | {"Vary": ", ".join([*filter(None, [headers.get("Vary")]), "Accept-Encoding"])})
    return answer


async def answer_model(service: Service, job: Job, request: Request, headers: dict[str, str]) -> Response:
    """The model's bytes, or the problem why there are none."""
    output = _output(job)
    if isinstance(output, Response):
        output.headers.update(headers)
        return output
    return await _send(model_of(service.blobs, output), job, "/model", request, headers)


async def answer_bundle(service: Service, job: Job, request: Request, headers: dict[str, str]) -> Response:
    """The archive's bytes, or the problem why there are none."""
    output = _output(job)
    if isinstance(output, Response):
        output.headers.update(headers)
        return output
    bundle = await service.bundles.bundle(service.blobs, job, output)
    return await _send(bundle, job, "/bundle", request, headers)


async def _send(download: Download, job: Job, part: str, request: Request, headers: dict[str, str]) -> Response:
    links = {
        "Link": f'<{job_path(job.id, "/report")}>; rel="describedby"',
        "Content-Location": job_path(job.id, part),
    }
    answer = await anyio.to_thread.run_sync(send_download, download, request)
    answer.headers.update(links | headers)
    return answer


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
