"""POST /fuse and PUT /fuse/{name}: take an upload; answer with its job or, if waited for, with what came of it."""

from collections.abc import AsyncIterable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.api.access import Caller
from app.api.deps import BaseUrl, CallerDep, Service, ServiceDep
from app.api.openapi.documented import OF_CALLERS, OF_UPLOADS, documented, of_jobs
from app.api.openapi.uploading import body_of_form, parameters_of_body
from app.api.receiving.accepting import Receive, accept
from app.api.receiving.bodies import receive_body
from app.api.receiving.forms import receive_form
from app.api.receiving.multipart import read_boundary
from app.api.receiving.uploads import Received, Reception
from app.api.routes.jobs import answer_job
from app.api.routes.results import BYTES, answer_bundle, answer_model
from app.api.schemas import JobView, job_path
from app.api.sending.negotiation import preferred
from app.api.waiting import Wait, WaitDep, job_or_404, wait_for
from app.errors import InvalidOption, JobCanceled, JobNotFound, MalformedUpload

router = APIRouter(tags=["fuse"])

_MODEL: Final = "application/octet-stream"
_BUNDLE: Final = "application/zip"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The fused file, where `wait` is given; the archive of file and report, where that is accepted.",
        "content": {_MODEL: BYTES, _BUNDLE: BYTES},
    },
    **documented(*OF_CALLERS, *OF_UPLOADS, *of_jobs(), JobNotFound, JobCanceled),
}


@router.post("/fuse", status_code=202, response_model=JobView, openapi_extra=body_of_form(), responses=_RESPONSES)
async def fuse(request: Request, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep) -> Response:
    """Fuse a checkpoint. After a 202 the job is not lost, whatever crashes."""
    unknown = [name for name in request.query_params if name != "wait"]
    if unknown:
        raise InvalidOption(
            f"There is no query parameter {unknown[0][:100]!r}.",
            remedy="Only wait goes into the query; options are form fields: -F max_error=1e-3",
        )
    boundary = read_boundary(request.headers.get("content-type", ""))

    async def receive(reception: Reception, body: AsyncIterable[bytes]) -> Received:
        return await receive_form(reception, body, boundary)

    return await _fuse(service, caller, request, base_url, wait, receive)


@router.put("/fuse", status_code=202, include_in_schema=False)
@router.put("/fuse/", status_code=202, include_in_schema=False)
@router.put(
    "/fuse/{name}", status_code=202, response_model=JobView, openapi_extra=parameters_of_body(), responses=_RESPONSES
)
async def fuse_body(
    request: Request, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep
) -> Response:
    """Fuse the checkpoint that is the body itself, for `curl -T`. Options go into the query; else as POST /fuse."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise MalformedUpload("The body is a form.", remedy="Send forms with POST, files with PUT: curl -T yolov7.pt")
    name = request.path_params.get("name", "")
    query = [one for one in request.query_params.multi_items() if one[0] != "wait"]

    async def receive(reception: Reception, body: AsyncIterable[bytes]) -> Received:
        return await receive_body(reception, body, name, query)

    return await _fuse(service, caller, request, base_url, wait, receive)


async def _fuse(
    service: Service, caller: Caller, request: Request, base_url: str, wait: Wait, receive: Receive
) -> Response:
    try:
        job_id = await accept(service, caller, request, receive)
    except ClientDisconnect:
        return Response(status_code=400)  # Nobody hears it, and it is no bug that belongs into the log.
    if wait.seconds:
        job = await wait_for(service, caller, job_id, wait, request)
    else:
        job = await job_or_404(service, caller, job_id)
    headers = wait.headers | {"Location": job_path(job_id), "Vary": "Accept"}
    if not wait.seconds or not job.finished:
        return answer_job(job, base_url, 202, headers)
    if preferred(request.headers.getlist("accept"), (_MODEL, _BUNDLE)) == _BUNDLE:
        return await answer_bundle(service, job, request, headers)
    return await answer_model(service, job, request, headers)
