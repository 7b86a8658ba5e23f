"""An upload as a form: the file in the field `model`, inputs for the comparison in `probe`, options in the others."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Final

from app.api.receiving.files import FileReceiver
from app.api.receiving.multipart import MultipartReader, PartBegins, PartBytes, PartEnds
from app.api.receiving.uploads import Received, Reception, read_options, unknown_option
from app.errors import InvalidOption, MalformedUpload
from app.options import MAX_PLAN, FuseOptions
from app.storage import input_key, probe_key

FILES: Final = {"model": "yolov7.pt", "probe": "inputs.npy"}
_MAX_FIELD: Final = 4096
_MAX_FIELDS: Final = {"plan": MAX_PLAN}


async def receive_form(reception: Reception, body: AsyncIterable[bytes], boundary: bytes) -> Received:
    """Read the whole form and make its files durable. Raises AppError; the client's leaving passes through."""
    reader, form = MultipartReader(boundary), _Form(reception)
    async for piece in body:
        reception.count(piece)
        for event in reader.feed(piece):
            match event:
                case PartBegins():
                    await form.begin(event)
                case PartBytes(data=data):
                    await form.take(data)
                case PartEnds():
                    form.end()
    reader.finish()
    options = read_options(form.options)
    if "model" not in form.files:
        raise MalformedUpload("The form has no file.", remedy="Add it as the field model: -F model=@yolov7.pt")
    source = await form.files["model"].finish()
    probe = await form.files["probe"].finish() if "probe" in form.files else None
    return Received(source, probe, options)


@dataclass(slots=True)
class _Form:
    """Takes the form apart."""

    reception: Reception
    files: dict[str, FileReceiver] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    _file: FileReceiver | None = None
    _field: str = ""
    _value: bytearray = field(default_factory=bytearray)

    async def begin(self, part: PartBegins) -> None:
        self._value.clear()
        self._field = part.name
        if part.name in FILES:
            await self._begin_file(part)
        elif part.name not in FuseOptions.model_fields:
            raise unknown_option(part.name, list(FILES))
        elif part.name in self.options:
            raise InvalidOption(f"The option {part.name} is given twice.", remedy="Give it once.")

    async def _begin_file(self, part: PartBegins) -> None:
        name = part.name
        if part.filename is None:
            raise MalformedUpload(
                f"The field {name} is text, not a file.", remedy=f"Write the @: -F {name}=@{FILES[name]}"
            )
        if name in self.files:
            raise MalformedUpload(f"The form has two files {name}.", remedy="Send one request for each file.")
        if not part.filename and name == "probe":
            return  # A browser's form where no file was chosen: an empty part without a name.
        key = input_key if name == "model" else probe_key
        self._file = await self.reception.begin(part.filename or name, key(self.reception.job_id))
        self.files[name] = self._file

    async def take(self, data: bytes) -> None:
        if self._file is not None:
            await self.reception.take(self._file, data)
            return
        self._value += data
        limit = _MAX_FIELDS.get(self._field, _MAX_FIELD)
        if self._field in FILES:
            raise MalformedUpload(f"The file {self._field} has no name.", remedy="Send it with its name.")
        if len(self._value) > limit:
            raise InvalidOption(
                f"The value of {self._field} is longer than {limit:,} bytes.",
                remedy="Write it shorter.",
                option=self._field,
            )

    def end(self) -> None:
        if self._file is None and self._field not in FILES:
            self.options[self._field] = self._value.decode("utf-8", "replace").strip()
        self._file = None
