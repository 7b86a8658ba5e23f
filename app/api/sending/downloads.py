"""A file as an answer: name, ETag, digest, one byte range (RFC 9110, RFC 9530), conditional requests."""

import base64
from dataclasses import dataclass, field

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from app.api.filenames import content_disposition
from app.api.problems import answer_problem
from app.api.refusals import RangeNotSatisfiable
from app.api.sending.conditions import byte_range, check_match, names
from app.api.sending.zipped import Read
from app.errors import JobExpired, Problem
from app.storage import BlobNotFound


@dataclass(frozen=True, slots=True)
class Download:
    """What is sent, and what is known of it."""

    filename: str
    bytes: int
    etag: str
    sha256: str
    read: Read
    media_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    attached: bool = True  # to be saved, not shown


def send_download(download: Download, request: Request) -> Response:
    """The whole, or the one range that was asked for, or that nothing changed.

    Raises JobExpired, PreconditionFailed.
    """
    if request.method in ("GET", "HEAD"):  # of an answer to POST or PUT nobody can know a version
        check_match(request.headers.getlist("if-match"), download.etag)
    headers = {
        "ETag": download.etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(download.sha256)).decode()}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        **download.headers,
    }
    if is_known(request, download.etag):
        return Response(status_code=304, headers=headers)
    if download.attached:
        headers["Content-Disposition"] = content_disposition(download.filename)
    start, stop, status = 0, download.bytes, 200
    found = _range(request, download)
    if found is not None:
        (start, stop), status = found, 206
        if start >= stop:
            return _unsatisfiable(download, request)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{download.bytes}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    try:
        pieces = download.read(start, stop)
    except BlobNotFound:
        raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.") from None
    return StreamingResponse(pieces, status_code=status, headers=headers, media_type=download.media_type)


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller asked for other versions than this one only. Of an answer to POST or PUT nobody can."""
    return request.method in ("GET", "HEAD") and names(request.headers.getlist("if-none-match"), etag)


def _range(request: Request, download: Download) -> tuple[int, int] | None:
    """The range to send; only GET knows any (RFC 9110, 14.2), and only of the version that is meant."""
    asked = request.headers.get("range")
    if request.method != "GET" or asked is None:
        return None
    if request.headers.get("if-range", download.etag) != download.etag:
        return None
    return byte_range(asked, download.bytes)


def _unsatisfiable(download: Download, request: Request) -> Response:
    outside = RangeNotSatisfiable(
        f"{request.headers['range'][:100]} lies outside of the file's {download.bytes:,} bytes.",
        remedy="Ask for a range inside of the file, or for all of it.",
    )
    return answer_problem(Problem.of(outside), request.url.path, {"Content-Range": f"bytes */{download.bytes}"})
