"""POST /fuse: take an upload, accept the job, and answer with the job or, if the caller waits, with the fused file."""

import secrets
from typing import Any

import anyio
import sqlalchemy as sa
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.api.access import Caller
from app.api.deps import BaseUrl, CallerDep, Service, ServiceDep
from app.api.documented import OF_CALLERS, OF_UPLOADS, documented, of_jobs
from app.api.jobs import answer_job
from app.api.receiving.admission import Incoming
from app.api.receiving.multipart import read_boundary
from app.api.receiving.uploads import Receiver
from app.api.results import BYTES, answer_model
from app.api.schemas import JobView, job_path
from app.api.waiting import WaitDep, job_or_404, wait_for
from app.errors import InvalidOption, JobCanceled, JobNotFound
from app.jobs.job import Input
from app.jobs.quotas import Usage, lock_admission, read_usage
from app.jobs.table import insert_job
from app.options import FuseOptions
from app.storage import input_key

router = APIRouter(tags=["fuse"])

_WAITED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The fused file, where `wait` is given.", "content": {"application/octet-stream": BYTES}}
}


def _form() -> dict[str, object]:
    """The form for OpenAPI: the options' own schema and the file."""
    options = {name: _field(schema) for name, schema in FuseOptions.model_json_schema()["properties"].items()}
    file = {
        "type": "string",
        "format": "binary",
        "minLength": 1,
        "description": "The checkpoint, as training wrote it.",
    }
    schema = {
        "type": "object",
        "required": ["model"],
        "properties": {"model": file, **options},
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _field(schema: dict[str, Any]) -> dict[str, Any]:
    """A form has no null: what may be None is a field that may be left out."""
    given = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(given) != 1:
        return schema
    return {**given[0], **{name: value for name, value in schema.items() if name not in ("anyOf", "default")}}


@router.post(
    "/fuse",
    status_code=202,
    response_model=JobView,
    openapi_extra=_form(),
    responses=_WAITED | documented(*OF_CALLERS, *OF_UPLOADS, *of_jobs(), JobNotFound, JobCanceled),
)
async def fuse(request: Request, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep) -> Response:
    """Fuse a checkpoint. After a 202 the job is not lost, whatever crashes."""
    try:
        job_id = await _accept(service, caller, request)
    except ClientDisconnect:
        return Response(status_code=400)  # Nobody hears it, and it is no bug that belongs into the log.
    if wait.seconds:
        job = await wait_for(service, caller, job_id, wait, request)
    else:
        job = await job_or_404(service, caller, job_id)
    location = {"Location": job_path(job_id)}
    if wait.seconds and job.finished:
        return await answer_model(service, job, request, wait.headers | location)
    return answer_job(job, base_url, 202, wait.headers | location)


async def _accept(service: Service, caller: Caller, request: Request) -> str:
    """Store the upload and queue the job. Raises AppError; a caller who leaves halfway leaves nothing behind."""
    unknown = [name for name in request.query_params if name != "wait"]
    if unknown:
        raise InvalidOption(
            f"There is no query parameter {unknown[0][:100]!r}.",
            remedy="Only wait goes into the query; options are form fields: -F max_error=1e-3",
        )
    boundary = read_boundary(request.headers.get("content-type", ""))
    declared = _content_length(request)
    service.uploads.check_declared(declared)
    job_id = secrets.token_hex(16)
    with service.admission.upload(caller.client, declared) as room:
        await anyio.to_thread.run_sync(_check_room, service, caller, room)
        async with Receiver(service.blobs, input_key(job_id), service.uploads, room) as receiver:
            source, options = await receiver.receive(request.stream(), boundary)
            # Shielded: a caller who leaves now must not separate the row from its blob.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_enqueue, service, caller, job_id, source, options)
                receiver.keep()
    return job_id


def _check_room(service: Service, caller: Caller, room: Incoming) -> None:
    """Refuse what could not be stored, or be worked on, before a byte is read."""
    with service.engine.connect() as connection:
        everything, own = read_usage(connection), _own_usage(connection, caller)
    service.quotas.check(everything, own, room.declared)
    # Every result is about as large as its file.
    needed = service.admission.to_come + room.declared + everything.expected_bytes
    room.check_disk(service.blobs.free_bytes(), needed)


def _own_usage(connection: sa.Connection, caller: Caller) -> Usage | None:
    return None if caller.key is None else read_usage(connection, caller.key)


def _enqueue(service: Service, caller: Caller, job_id: str, source: Input, options: FuseOptions) -> None:
    """Job row and queue entry, both or neither."""
    with service.engine.begin() as connection:
        lock_admission(connection)
        service.quotas.check(read_usage(connection), _own_usage(connection, caller), source.bytes)
        sequence = insert_job(connection, job_id, options, source, caller.key)
        service.queue.enqueue(connection, job_id, sequence)


def _content_length(request: Request) -> int | None:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 20 else None
