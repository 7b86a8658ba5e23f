"""A multipart/form-data body as a stream of events: which part begins, its bytes, its end. Nothing is stored here."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.api.filenames import clean_filename
from app.errors import MalformedUpload, NotMultipart

_HOW = "Send the file as a form field named model: curl -F model=@yolov7.pt http://.../fuse"


@dataclass(frozen=True, slots=True)
class PartBegins:
    name: str
    filename: str | None  # None for a plain field, empty where a file has no name


@dataclass(frozen=True, slots=True)
class PartBytes:
    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    pass


Event = PartBegins | PartBytes | PartEnds


def read_boundary(content_type: str) -> bytes:
    """The boundary that a Content-Type header declares. Raises NotMultipart, MalformedUpload."""
    kind, parameters = parse_options_header(content_type.encode("latin-1", "replace"))
    if kind != b"multipart/form-data":
        found = content_type.split(";")[0].strip() or "nothing"
        raise NotMultipart(f"Content-Type is {found}, not multipart/form-data.", remedy=_HOW)
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise MalformedUpload("The Content-Type header has no boundary of 1 to 70 characters.", remedy=_HOW)
    return boundary


@dataclass(slots=True)
class MultipartReader:
    """Feed it the body piece by piece; each piece yields the events that it completes."""

    boundary: bytes
    _parser: MultipartParser = field(init=False)
    _events: list[Event] = field(init=False, default_factory=list)
    _header: bytes = field(init=False, default=b"")
    _value: bytes = field(init=False, default=b"")
    _disposition: bytes = field(init=False, default=b"")
    _complete: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": lambda: self._events.append(PartEnds()),
                "on_end": self._on_end,
            },
        )

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Raises MalformedUpload."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise MalformedUpload(f"The multipart body is broken: {error}.", remedy=_HOW) from None
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        """Raises MalformedUpload if the body stopped before its last boundary."""
        if not self._complete:
            raise MalformedUpload("The multipart body stops before its last boundary.", remedy=_HOW)

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            if self._disposition:
                raise MalformedUpload("A part of the body has two Content-Disposition headers.", remedy=_HOW)
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in parameters:
            raise MalformedUpload("A part of the body has no Content-Disposition: form-data with a name.", remedy=_HOW)
        filename = parameters.get(b"filename")
        named = clean_filename(_text(filename)) if filename else None if filename is None else ""
        self._events.append(PartBegins(_text(parameters[b"name"]), named))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartBytes(data[start:end]))

    def _on_end(self) -> None:
        self._complete = True


def _text(raw: bytes) -> str:
    """Header bytes as text: UTF-8 as browsers and curl send it, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
