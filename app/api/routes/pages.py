"""The pages for people: the upload page, a job's page, and what both load. All they show comes from the API."""

from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import anyio
from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from app.api.access import Caller, identify
from app.api.deps import BaseUrl, Service, ServiceDep
from app.api.refusals import BadRequest
from app.api.routes.results import answer_bundle, answer_model
from app.api.sending.negotiation import takes_gzip
from app.api.waiting import job_or_404
from app.options import FuseOptions
from app.web.assets import Asset, assets, assets_version
from app.web.bundle import modules_of
from app.web.templates import render

router = APIRouter(include_in_schema=False)

_FOR_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASK_AGAIN = {"Cache-Control": "no-cache"}
_LARGEST_FORM = 4096
_JOB_STYLES = ("css/job.css", "css/report.css", "css/layers.css", "vendor/uplot/uPlot.min.css", "css/print.css")


@router.head("/")
@router.get("/")
async def front(request: Request, service: ServiceDep, base_url: BaseUrl) -> Response:
    """The upload page for browsers, a line to paste for everybody else."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(_usage(service, base_url), headers={"Vary": "Accept"})
    page = _page("upload.html", "js/upload-page.js", service, fields=FuseOptions.model_fields, base_url=base_url)
    page.headers["Vary"] = "Accept"
    return page


@router.head("/jobs/{job_id}")
@router.get("/jobs/{job_id}")
async def job(job_id: str, service: ServiceDep) -> Response:
    """A job's page: the same for each, and for ids that are none; its script asks the API, with the caller's key."""
    return _page("job.html", "js/job-page.js", service, job_id=job_id[:200])


@router.post("/jobs/{job_id}/{part}")
async def download(job_id: str, part: Literal["model", "bundle"], request: Request, service: ServiceDep) -> Response:
    """A result where keys are asked for, as a browser saves it: its links carry no header, its forms hold a key."""
    key = await _key_of_form(request)
    caller = Caller(None, "")
    if service.keyring is not None:
        bearer = Headers({"authorization": f"Bearer {key}"} if key else {})
        caller = Caller(await anyio.to_thread.run_sync(identify, service.keyring, bearer), "")
    job = await job_or_404(service, caller, job_id)
    answer = answer_model if part == "model" else answer_bundle
    return await answer(service, job, request, {})


async def _key_of_form(request: Request) -> str:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM:
            raise BadRequest("The form is longer than one that holds a key.", remedy="Send the key alone.")
    given = parse_qs(body.decode("ascii", "replace")).get("key", [""])[0]
    return given.encode("ascii", "replace").decode()  # What no header can hold is no key.


@router.head("/static/{version}/{path:path}")
@router.get("/static/{version}/{path:path}")
async def asset(version: str, path: str, request: Request) -> Response:
    """A style, script or picture. An address of another version is answered too, while processes are replaced."""
    found = assets().get(path)
    if found is None:
        raise HTTPException(404, "There is no such file.")
    return _send(found, request, _FOR_A_YEAR if version == assets_version() else _ASK_AGAIN)


def _send(found: Asset, request: Request, headers: dict[str, str]) -> Response:
    zipped = found.gzipped if takes_gzip(request.headers.getlist("accept-encoding")) else None
    more = {"Vary": "Accept-Encoding"} | ({} if zipped is None else {"Content-Encoding": "gzip"})
    return Response(zipped or found.content, media_type=found.media_type, headers=headers | more)


def _page(template: str, script: str, service: Service, **values: Any) -> HTMLResponse:
    root = urlsplit(service.public_url).path.rstrip("/")
    shared = {
        "root": root,
        "static": f"{root}/static/{assets_version()}",
        "keys": service.keyring is not None,
        "max_upload_bytes": service.uploads.max_bytes,
        "job_styles": _JOB_STYLES,
        "modules": modules_of(script),  # named in the head: a browser need not find them one by one
    }
    return HTMLResponse(render(template, **shared, **values))


def _usage(service: Service, base_url: str) -> str:
    key = "" if service.keyring is None else ' -H "Authorization: Bearer $FUSEBOX_KEY"'
    return (
        "Fusebox makes trained networks lighter without changing what they compute.\n\n"
        f"  curl --fail-with-body -OJ{key} -F model=@yolov7.pt '{base_url}/fuse?wait=120'\n\n"
        f"API: {base_url}/openapi.json\n"
    )
