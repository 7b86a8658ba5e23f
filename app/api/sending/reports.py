"""The report of a job in each of its forms: as stored, as Markdown, as a page, as a program that repeats its proof."""

import gzip
import hashlib
from collections.abc import Iterator
from typing import Final

from app.api.sending.conditions import etag_of
from app.api.sending.downloads import Download
from app.api.sending.zipped import Read
from app.errors import JobExpired
from app.jobs.job import Output
from app.markdown import report_markdown
from app.report import Report
from app.snippet import comparison_snippet
from app.storage import BlobNotFound, Blobs
from app.web.report_page import report_html, report_policy

JSON: Final = "application/json"
MARKDOWN: Final = "text/markdown"
HTML: Final = "text/html"
PYTHON: Final = "text/x-python"

_LARGEST: Final = 1 << 30
_SMALLEST_TO_PACK: Final = 4 << 10  # less saves no packet that counts
_LEVEL: Final = 6
_NAMES: Final = {JSON: "report.json", MARKDOWN: "report.md", HTML: "report.html", PYTHON: "comparison.py"}


def report_of(blobs: Blobs, output: Output, kind: str, *, packed: bool) -> Download:
    """The report as something that a browser shows, packed by gzip where that is asked for. Raises JobExpired."""
    stored = read_report(blobs, output)
    headers = {}
    match kind:
        case "text/markdown":
            report = _parsed(stored)
            text, kind = report_markdown(report, comparison_snippet(report)).encode(), f"{MARKDOWN}; charset=utf-8"
        case "text/html":
            report = _parsed(stored)
            text, kind = report_html(report, comparison_snippet(report)).encode(), f"{HTML}; charset=utf-8"
            # Its own scripts lie in it, and are allowed by what they hash to.
            headers["Content-Security-Policy"] = f"{report_policy()}; frame-ancestors 'none'"
        case "text/x-python":
            text, kind = comparison_snippet(_parsed(stored)).encode(), f"{PYTHON}; charset=utf-8"
        case _:
            text = stored
    name = _NAMES[kind.partition(";")[0]]
    if packed and len(text) >= _SMALLEST_TO_PACK:
        # A representation of its own (RFC 9110, 8.8.3.3): length, ETag and digest are those of the packed bytes. It
        # holds no secret of anybody's, and nothing of the request, from which packing could tell one (BREACH).
        text = gzip.compress(text, _LEVEL, mtime=0)
        headers |= {"Content-Encoding": "gzip", "Accept-Ranges": "none"}
    digest = hashlib.sha256(text).hexdigest()
    return Download(name, len(text), etag_of(text), digest, slices(text), kind, headers, attached=False)


def read_report(blobs: Blobs, output: Output) -> bytes:
    """The report as it is stored. Raises JobExpired."""
    try:
        return b"".join(blobs.read(output.report_key, 0, _LARGEST))
    except BlobNotFound:
        raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.") from None


def slices(text: bytes) -> Read:
    """A text that is held as a source of its ranges."""

    def read(start: int, stop: int) -> Iterator[bytes]:
        return iter((text[start:stop],))

    return read


def _parsed(stored: bytes) -> Report:
    return Report.model_validate_json(stored)
