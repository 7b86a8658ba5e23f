"""A blob as an answer: name, ETag, digest, one byte range (RFC 9110), conditional requests."""

import base64
import re
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from app.api.filenames import content_disposition
from app.api.problems import answer_problem
from app.api.refusals import RangeNotSatisfiable
from app.errors import JobExpired, Problem
from app.storage import BlobNotFound, Blobs


@dataclass(frozen=True, slots=True)
class Download:
    """What is sent, and what is known of it."""

    key: str
    filename: str
    bytes: int
    sha256: str
    headers: dict[str, str]


def send_download(blobs: Blobs, download: Download, request: Request) -> Response:
    """The whole, or the one range that was asked for, or that nothing changed. Raises JobExpired."""
    headers = {
        "ETag": f'"{download.sha256}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(download.sha256)).decode()}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        **download.headers,
    }
    # Of an answer to POST neither a part nor "not changed" can be asked.
    asking = request.headers if request.method in ("GET", "HEAD") else {}
    if _names(asking.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = content_disposition(download.filename)
    start, stop, status = 0, download.bytes, 200
    asked = asking.get("range")
    if asked is not None and asking.get("if-range", headers["ETag"]) == headers["ETag"]:
        found = _range(asked, download.bytes)
        if found is not None:
            (start, stop), status = found, 206
            if start >= stop:
                return _unsatisfiable(download, request)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{download.bytes}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    try:
        pieces = blobs.read(download.key, start, stop)
    except BlobNotFound:
        raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.") from None
    return StreamingResponse(pieces, status_code=status, headers=headers, media_type="application/octet-stream")


def _names(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    listed = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in listed or etag in listed


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """[start, stop) of a single range, empty if it lies outside; None for what may be ignored (several, nonsense)."""
    matched = re.fullmatch(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", asked.strip())
    if matched is None or not (matched[1] or matched[2]):
        return None
    if not matched[1]:
        start, stop = max(0, size - int(matched[2])), size
    else:
        start = int(matched[1])
        if matched[2] and int(matched[2]) < start:
            return None
        stop = min(size, int(matched[2]) + 1) if matched[2] else size
    return start, stop


def _unsatisfiable(download: Download, request: Request) -> Response:
    outside = RangeNotSatisfiable(
        f"{request.headers['range'][:100]} lies outside of the file's {download.bytes:,} bytes.",
        remedy="Ask for a range inside of the file, or for all of it.",
    )
    return answer_problem(Problem.of(outside), request.url.path, {"Content-Range": f"bytes */{download.bytes}"})
