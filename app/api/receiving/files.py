"""A file on its way from the socket to its blob: written once, hashed and counted, in constant memory."""

import hashlib
from dataclasses import dataclass, field

import anyio

from app.api.receiving.admission import Incoming
from app.errors import MalformedUpload
from app.jobs.job import Input
from app.storage import Blobs, Upload

# A thread is asked once for so many bytes, not for each piece that the socket gives.
_BATCH = 1 << 20


@dataclass(slots=True)
class FileReceiver:
    """One file. It leaves a blob behind only if it is never aborted."""

    filename: str
    key: str
    blobs: Blobs | None  # None: it is only looked at, since it was stored before
    room: Incoming
    size: int = 0
    _upload: Upload | None = None
    _sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _batch: bytearray = field(default_factory=bytearray)

    async def open(self) -> None:
        if self.blobs is not None:
            self._upload = await anyio.to_thread.run_sync(self.blobs.upload, self.key)

    async def take(self, data: bytes) -> None:
        self.size += len(data)
        self._batch += data
        if len(self._batch) >= _BATCH:
            await self._write_batch()

    async def finish(self) -> Input:
        """Make it durable. Raises MalformedUpload for an empty file."""
        if self.size == 0:
            raise MalformedUpload(f"{self.filename} is empty.", remedy="Check the path, and that the file was saved.")
        await self._write_batch()
        if self._upload is not None:
            await anyio.to_thread.run_sync(self._upload.commit)
        return Input(self.filename, self.size, self._sha256.hexdigest(), self.key)

    def abort(self) -> None:
        if self._upload is not None:
            self._upload.abort()

    async def _write_batch(self) -> None:
        await anyio.to_thread.run_sync(self._hash_and_write, bytes(self._batch))
        self._batch.clear()

    def _hash_and_write(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._upload is not None and self.blobs is not None:
            self.room.check_disk(self.blobs.free_bytes(), len(data))
            self._upload.write(data)
