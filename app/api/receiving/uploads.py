"""What an upload may take, what it consists of, and the options that come with it."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import anyio
from pydantic import ValidationError

from app.api.receiving.admission import Incoming
from app.api.receiving.files import FileReceiver
from app.api.refusals import TooSlow
from app.errors import InvalidOption, TooLarge
from app.jobs.job import Input
from app.options import MAX_PLAN, FuseOptions
from app.storage import Blobs

# Boundaries, part headers and option fields around the files.
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


@dataclass(frozen=True, slots=True)
class Received:
    """What an upload holds: the checkpoint, the caller's own inputs for the comparison, the options."""

    source: Input
    probe: Input | None
    options: FuseOptions

    @property
    def bytes(self) -> int:
        return self.source.bytes + (self.probe.bytes if self.probe else 0)


@dataclass(slots=True)
class Reception:
    """The files of one upload; as a context it leaves none of them behind unless `keep` was called."""

    job_id: str
    blobs: Blobs | None  # None: the upload is only compared with one that was stored before
    limits: UploadLimits
    room: Incoming
    _files: list[FileReceiver] = field(default_factory=list)
    _kept: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self._kept:
            with anyio.CancelScope(shield=True):
                for file in self._files:
                    await anyio.to_thread.run_sync(file.abort)

    def keep(self) -> None:
        """The job is accepted: the blobs are its own now."""
        self._kept = True

    async def begin(self, filename: str, key: str) -> FileReceiver:
        file = FileReceiver(filename, key, self.blobs, self.room)
        self._files.append(file)
        await file.open()
        return file

    def count(self, piece: bytes) -> None:
        """A piece of the body has come, whatever it holds. Raises TooLarge."""
        self.room.received += len(piece)
        if self.room.received > self.limits.max_bytes + _ENVELOPE:
            raise self.limits.too_large("The upload")  # Also what comes around the file and is not stored.

    async def take(self, file: FileReceiver, data: bytes) -> None:
        """Raises TooLarge: the limit is for all files of an upload."""
        if sum(one.size for one in self._files) + len(data) > self.limits.max_bytes:
            raise self.limits.too_large(file.filename)
        await file.take(data)


def read_options(texts: Mapping[str, str]) -> FuseOptions:
    """Options as they come in a form or a query. Raises InvalidOption."""
    # A browser's form sends the fields that were left empty as well.
    given = {name: value for name, value in texts.items() if value}
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


def unknown_option(name: str, places: list[str]) -> InvalidOption:
    """`places` are the names that are taken beside those of the options."""
    options = list(FuseOptions.model_fields)
    return InvalidOption(
        f"There is no option {name[:100]!r}.",
        remedy=f"The file goes into the field model; the options are {', '.join(options)}."
        if "model" in places
        else f"The options are {', '.join(options)}.",
        allowed=[*places, *options],
    )
