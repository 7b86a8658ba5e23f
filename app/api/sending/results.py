"""What can be downloaded of a finished job: the fused file, its report, and both in one archive."""

import hashlib
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import anyio

from app.api.sending.conditions import etag_of
from app.api.sending.downloads import Download
from app.api.sending.reports import read_report, slices
from app.api.sending.zipped import Entry, archive_of
from app.errors import JobExpired
from app.jobs.job import Job, Output
from app.storage import BlobNotFound, Blobs

_REPORT = "report.json"
_REMEMBERED = 256


def model_of(blobs: Blobs, output: Output) -> Download:
    read = partial(blobs.read, output.model_key)
    return Download(output.filename, output.bytes, f'"{output.sha256}"', output.sha256, read)


@dataclass(slots=True, eq=False)
class Bundles:
    """Archives of model and report. What is costly to know of one, its digests, is remembered for the latest."""

    _measured: OrderedDict[str, tuple[int, str]] = field(default_factory=OrderedDict)
    # To read whole files before the first byte is sent is for few at a time.
    _few: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))

    async def bundle(self, blobs: Blobs, job: Job, output: Output) -> Download:
        """The archive of a job that succeeded. Raises JobExpired."""
        report = await anyio.to_thread.run_sync(read_report, blobs, output)
        name = f"{output.filename}.zip"
        # The bytes of the archive follow from these alone.
        etag = etag_of(f"1\0{output.filename}\0{output.sha256}\0{job.finished_at}\0".encode() + report)
        measured = self._measured.get(etag)
        if measured is None:
            measured = await anyio.to_thread.run_sync(_measure, blobs, job, output, report, limiter=self._few)
            self._measured[etag] = measured
        self._measured.move_to_end(etag)
        while len(self._measured) > _REMEMBERED:
            self._measured.popitem(last=False)
        crc32, sha256 = measured
        archive = archive_of(_entries(blobs, output, report, crc32), _made(job))
        return Download(name, archive.size, etag, sha256, archive.read, "application/zip")


def _measure(blobs: Blobs, job: Job, output: Output, report: bytes) -> tuple[int, str]:
    """CRC of the model, which stands before its bytes, and digest of the archive. Raises JobExpired."""
    try:
        crc32 = 0
        for piece in blobs.read(output.model_key, 0, output.bytes):
            crc32 = zlib.crc32(piece, crc32)
        archive = archive_of(_entries(blobs, output, report, crc32), _made(job))
        digest = hashlib.sha256()
        for piece in archive.read(0, archive.size):
            digest.update(piece)
    except BlobNotFound:
        raise JobExpired("The files of this job are gone.", remedy="Upload the checkpoint again.") from None
    return crc32, digest.hexdigest()


def _entries(blobs: Blobs, output: Output, report: bytes, crc32: int) -> list[Entry]:
    return [
        Entry(output.filename, output.bytes, crc32, partial(blobs.read, output.model_key)),
        Entry(_REPORT, len(report), zlib.crc32(report), slices(report)),
    ]


def _made(job: Job) -> datetime:
    return datetime.fromtimestamp(job.finished_at or 0, UTC)
