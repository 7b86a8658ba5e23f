"""An upload on its way from the socket to its blob: written once, hashed and counted, in constant memory."""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import anyio
from pydantic import ValidationError

from app.api.receiving.admission import Incoming
from app.api.receiving.multipart import MultipartReader, PartBegins, PartBytes, PartEnds
from app.api.refusals import TooSlow
from app.errors import InvalidOption, MalformedUpload, TooLarge
from app.jobs.job import Input
from app.options import MAX_PLAN, FuseOptions
from app.storage import Blobs, Upload

# A thread is asked once for so many bytes, not for each piece that the socket gives.
_BATCH = 1 << 20
_MAX_FIELD = 4096
_MAX_FIELDS = {"plan": MAX_PLAN}
# Boundaries, part headers and option fields around the file.
_ENVELOPE = (64 << 10) + MAX_PLAN


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What an upload may take, and how long it may take."""

    max_bytes: int
    idle_seconds: float
    min_bytes_per_second: int

    def check_declared(self, content_length: int | None) -> None:
        """Refuse by the declared length alone, before a byte is read. Raises TooLarge."""
        if content_length is not None and content_length > self.max_bytes + _ENVELOPE:
            raise self.too_large(f"The upload of {content_length:,} bytes")

    def too_large(self, what: str) -> TooLarge:
        return TooLarge(
            f"{what} is above the limit of {self.max_bytes:,} bytes.",
            remedy="Save the checkpoint without optimizer, or ask the operator to raise FUSEBOX_MAX_UPLOAD_BYTES.",
            limit_bytes=self.max_bytes,
        )


async def paced(pieces: AsyncIterable[bytes], limits: UploadLimits) -> AsyncIterator[bytes]:
    """The body as it comes, if it comes fast enough; our own work does not count. Raises TooSlow."""
    waited, received, came = 0.0, 0, aiter(pieces)
    while True:
        began = anyio.current_time()
        piece = None
        with anyio.move_on_after(limits.idle_seconds):
            piece = await anext(came, b"")
        waited += anyio.current_time() - began
        if piece is None or (waited > limits.idle_seconds and received < waited * limits.min_bytes_per_second):
            raise TooSlow(
                f"{received:,} bytes of the upload came in {waited:.0f} seconds; "
                f"at least {limits.min_bytes_per_second:,} a second are expected.",
                remedy="Upload over a faster connection.",
            )
        if not piece:
            return
        received += len(piece)
        yield piece


@dataclass(slots=True)
class Receiver:
    """Takes the form apart; as a context it leaves no blob behind unless `keep` was called."""

    blobs: Blobs
    key: str
    limits: UploadLimits
    room: Incoming
    _upload: Upload | None = None
    _kept: bool = False
    _filename: str = ""
    _bytes: int = 0
    _sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _batch: bytearray = field(default_factory=bytearray)
    _in_file: bool = False
    _field: str = ""
    _value: bytearray = field(default_factory=bytearray)
    _options: dict[str, str] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._upload is not None and not self._kept:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._upload.abort)

    def keep(self) -> None:
        """The job is accepted: the blob is its own now."""
        self._kept = True

    async def receive(self, body: AsyncIterable[bytes], boundary: bytes) -> tuple[Input, FuseOptions]:
        """Read the whole form and make the blob durable. Raises AppError; the client's leaving passes through."""
        reader = MultipartReader(boundary)
        async for piece in paced(body, self.limits):
            self.room.received += len(piece)
            if self.room.received > self.limits.max_bytes + _ENVELOPE:
                raise self.limits.too_large("The upload")  # Also what comes around the file and is not stored.
            for event in reader.feed(piece):
                match event:
                    case PartBegins():
                        await self._begin(event)
                    case PartBytes(data=data):
                        await self._take(data)
                    case PartEnds():
                        self._end()
        reader.finish()
        options = self._read_options()
        if self._upload is None:
            raise MalformedUpload("The form has no file.", remedy="Add it as the field model: -F model=@yolov7.pt")
        if self._bytes == 0:
            raise MalformedUpload(f"{self._filename} is empty.", remedy="Check the path, and that the file was saved.")
        await self._write_batch()
        await anyio.to_thread.run_sync(self._upload.commit)
        return Input(self._filename, self._bytes, self._sha256.hexdigest(), self.key), options

    async def _begin(self, part: PartBegins) -> None:
        allowed = list(FuseOptions.model_fields)
        if part.name == "model":
            if part.filename is None:
                raise MalformedUpload("The field model is text, not a file.", remedy="Write the @: -F model=@yolov7.pt")
            if self._upload is not None:
                raise MalformedUpload("The form has two files.", remedy="Send one request for each file.")
            self._filename = part.filename
            self._upload = await anyio.to_thread.run_sync(self.blobs.upload, self.key)
            self._in_file = True
        elif part.name not in allowed:
            raise InvalidOption(
                f"There is no option {part.name[:100]!r}.",
                remedy=f"The file goes into the field model; the options are {', '.join(allowed)}.",
                allowed=["model", *allowed],
            )
        elif part.name in self._options:
            raise InvalidOption(f"The option {part.name} is given twice.", remedy="Give it once.")
        else:
            self._field = part.name
            self._value.clear()

    async def _take(self, data: bytes) -> None:
        if not self._in_file:
            self._value += data
            limit = _MAX_FIELDS.get(self._field, _MAX_FIELD)
            if len(self._value) > limit:
                raise InvalidOption(
                    f"The value of {self._field} is longer than {limit:,} bytes.",
                    remedy="Write it shorter.",
                    option=self._field,
                )
            return
        self._bytes += len(data)
        if self._bytes > self.limits.max_bytes:
            raise self.limits.too_large(f"{self._filename}")
        self._batch += data
        if len(self._batch) >= _BATCH:
            await self._write_batch()

    def _end(self) -> None:
        if not self._in_file:
            self._options[self._field] = self._value.decode("utf-8", "replace").strip()
        self._in_file = False

    async def _write_batch(self) -> None:
        await anyio.to_thread.run_sync(self._hash_and_write, bytes(self._batch))
        self._batch.clear()

    def _hash_and_write(self, data: bytes) -> None:
        assert self._upload is not None
        self.room.check_disk(self.blobs.free_bytes(), len(data))
        self._sha256.update(data)
        self._upload.write(data)

    def _read_options(self) -> FuseOptions:
        # A browser's form sends the fields that were left empty as well.
        given = {name: value for name, value in self._options.items() if value}
        try:
            return FuseOptions.model_validate(given)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = ".".join(map(str, wrong["loc"]))
            raise InvalidOption(
                f"{name} is {str(wrong['input'])[:100]!r}: {wrong['msg']}.",
                remedy=FuseOptions.model_fields[name].description or "",
                option=name,
            ) from None
