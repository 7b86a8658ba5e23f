"""GET /v1/jobs: a caller's jobs, newest first, page by page."""

import base64
import binascii
import math
import re
from typing import Annotated, Final

import anyio
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api.deps import BaseUrl, CallerDep, ServiceDep
from app.api.openapi.documented import OF_CALLERS, documented
from app.api.refusals import InvalidCursor
from app.api.schemas import JobPage, view_job
from app.errors import InvalidOption
from app.jobs.history import Place, list_jobs
from app.jobs.job import Job, State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LONGEST: Final = 200
# A time as Python writes it, and an id.
_PLACE: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?) ([A-Za-z0-9_-]{1,64})")

_Limit = Annotated[int, Query(ge=1, le=100, description="How many jobs a page holds at most.")]
_Cursor = Annotated[str | None, Query(description="Where the page begins: `next` of the page before.")]
_State = Annotated[State | None, Query(description="Only the jobs of this state.")]


@router.head("", include_in_schema=False)
@router.get("", response_model=JobPage, responses=documented(*OF_CALLERS, InvalidOption, InvalidCursor))
async def read_page(
    service: ServiceDep,
    caller: CallerDep,
    base_url: BaseUrl,
    request: Request,
    limit: _Limit = 20,
    cursor: _Cursor = None,
    state: _State = None,
) -> Response:
    """The jobs of this key, newest first; where no key is asked for, those that came without one.

    A page continues where the one before ended, whatever came and went meanwhile.
    """
    after = None if not cursor else _place(cursor)
    # One more than asked for tells whether there is another page.
    found = await anyio.to_thread.run_sync(list_jobs, service.engine, caller.key, limit + 1, after, state)
    following = _cursor(found[limit - 1]) if len(found) > limit else None
    page = JobPage(jobs=[view_job(job, base_url) for job in found[:limit]], next=following)
    headers = {"Cache-Control": "no-store"}
    if following is not None:
        headers["Link"] = f'</v1/jobs?{request.url.include_query_params(cursor=following).query}>; rel="next"'
    return Response(page.model_dump_json(), media_type="application/json", headers=headers)


def _cursor(job: Job) -> str:
    return base64.urlsafe_b64encode(f"{job.created_at!r} {job.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    """Raises InvalidCursor."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    matched = _PLACE.fullmatch(text)
    created_at = float(matched[1]) if matched else math.inf
    if matched is None or not math.isfinite(created_at):
        raise InvalidCursor(
            f"The cursor {cursor[:100]!r} is none that this list gave.",
            remedy="Take `next` of a page as it is, or leave the cursor out to begin with the newest jobs.",
        )
    return Place(created_at, matched[2])
