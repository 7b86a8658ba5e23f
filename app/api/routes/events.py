"""/v1/jobs/{id}/events: a job's changes as they happen, as server-sent events, and its end."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import anyio
import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.api.access import Caller, identify
from app.api.deps import BaseUrl, CallerDep, Service, ServiceDep
from app.api.openapi.documented import OF_CALLERS, documented
from app.api.refusals import InvalidKey, JobNotFinishedYet, MissingKey
from app.api.routes.jobs import answer_job
from app.api.schemas import JobView, view_job
from app.api.waiting import WaitDep, job_or_404, wait_for
from app.errors import InvalidOption, JobNotFound
from app.jobs.history import read_since
from app.jobs.job import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_HEARTBEAT_SECONDS: Final = 15.0
_OUTAGE_SECONDS: Final = 2.0
_RETRY: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": \n\n"
_MEDIA_TYPE: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# One event: OpenAPI 3.1 has no word for a sequence of them.
_EVENT: Final = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "Number of the change; grows."},
        "event": {"enum": ["job", "done"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobView"},
        },
    },
}
_ENDED: Final = {"id": "8", "event": "done", "data": '{"id": "0123456789abcdef0123456789abcdef", "state": "succeeded"}'}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events until the job has ended, the last one of the type `done`. A comment every "
        "15 seconds says that the stream lives.",
        "content": {
            _MEDIA_TYPE: {"schema": _EVENT, "examples": {"done": {"summary": "The last event.", "value": _ENDED}}}
        },
    },
    204: {"description": "The job has ended, and the caller knows its last event."},
}
_WHOLE_NUMBER: Final = r"^[0-9]{1,15}$"
_After = Annotated[int | None, Query(ge=0, lt=10**15, description="The number of the last event that is known.")]
_LastId = Annotated[
    str | None, Header(pattern=_WHOLE_NUMBER, description="The same, as browsers send it when they connect again.")
]


@router.head("/{job_id}/events", include_in_schema=False)
@router.get(
    "/{job_id}/events", response_class=Response, responses=_STREAM | documented(*OF_CALLERS, JobNotFound, InvalidOption)
)
async def read_events(
    job_id: str,
    service: ServiceDep,
    caller: CallerDep,
    base_url: BaseUrl,
    request: Request,
    after: _After = None,
    last_event_id: _LastId = None,
) -> Response:
    """What becomes of a job, told as it happens.

    Every change of the job has a number, the event's id. With the number of the last event that is known what came
    later is told, also after a restart of the service; without one, first how the job stands.
    """
    job = await job_or_404(service, caller, job_id)
    known = int(last_event_id) if last_event_id is not None else after
    if job.finished and known == job.revision:
        return Response(status_code=204, headers=_HEADERS)
    if request.method == "HEAD":
        return Response(headers={**_HEADERS, "Content-Type": _MEDIA_TYPE})
    # A number that was never given: the database is older than the caller's memory.
    number = job.revision if known is None or known > job.revision else known
    told = _follow(service, caller, request, job, number, base_url)
    return StreamingResponse(told, media_type=_MEDIA_TYPE, headers=_HEADERS)


@router.head("/{job_id}/done", include_in_schema=False)
@router.get(
    "/{job_id}/done",
    response_model=JobView,
    responses=documented(*OF_CALLERS, JobNotFound, JobNotFinishedYet, InvalidOption),
)
async def read_end(
    job_id: str, service: ServiceDep, caller: CallerDep, base_url: BaseUrl, wait: WaitDep, request: Request
) -> Response:
    """Whether a job has ended, for what looks at the status alone: 404 until then, 200 however it ended."""
    job = await wait_for(service, caller, job_id, wait, request)
    if not job.finished:
        raise JobNotFinishedYet(f"The job is {job.state}.", remedy="Ask again, or wait: ?wait=120")
    return answer_job(job, base_url, 200, wait.headers)


async def _follow(
    service: Service, caller: Caller, request: Request, job: Job, number: int, base_url: str
) -> AsyncIterator[bytes]:
    """The stream. It ends with the job, with the service, or when its caller may ask no longer."""
    yield _RETRY
    said = b""
    with service.watch.on(job.id) as bell:
        while not service.stopping.is_set():
            try:
                present, later = await service.watch.read(read_since, service.engine, job.id, number)
            except sa.exc.SQLAlchemyError:
                # Who follows a job follows it through an outage: a browser would not connect again after a 503.
                await anyio.sleep(_OUTAGE_SECONDS)
                yield _HEARTBEAT
                continue
            if present is None:
                return
            for step in [*(one for one in later if one.revision < present.revision), present]:
                event = _event("done" if step is present and step.finished else "job", step, base_url)
                if event != said:
                    yield event
                    said = event
            if present.finished:
                return
            number = present.revision
            bell.note(present)
            if not await bell.wait(_HEARTBEAT_SECONDS):
                yield _HEARTBEAT
                if not await _may_still_ask(service, caller, request):
                    return


def _event(kind: str, job: Job, base_url: str) -> bytes:
    view = view_job(job, base_url).model_dump_json()
    return f"id: {job.revision}\nevent: {kind}\ndata: {view}\n\n".encode()


async def _may_still_ask(service: Service, caller: Caller, request: Request) -> bool:
    """Whether the key of the stream is still valid: one that is revoked hears nothing more."""
    if service.keyring is None:
        return True
    try:
        return await service.watch.read(identify, service.keyring, request.headers) == caller.key
    except (MissingKey, InvalidKey):
        return False
    except sa.exc.SQLAlchemyError:
        return True
