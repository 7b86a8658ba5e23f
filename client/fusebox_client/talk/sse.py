"""Server-sent events (WHATWG HTML, section 9.2) out of bytes as they come."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: str
    id: str


@dataclass(slots=True)
class EventReader:
    """Feed it the body piece by piece; each piece yields the events that it completes. `last_id` is for resuming."""

    last_id: str = ""
    _rest: bytes = b""
    _name: str = ""
    _id: str | None = None
    _lines: list[str] = field(default_factory=list)
    _letters: int = 0  # of these lines, with their names

    @property
    def held(self) -> int:
        """Bytes and letters of an event that is not complete."""
        return len(self._rest) + self._letters

    def feed(self, piece: bytes) -> Iterator[Event]:
        text, at = self._rest + piece, 0
        try:
            # A carriage return at the end may be the first half of a line end.
            while (end := _line_end(text, at)) is not None:
                line, at = text[at : end[0]], end[1]
                event = self._line(line.decode("utf-8", "replace").removeprefix("\ufeff"))
                if event is not None:
                    yield event
        finally:
            self._rest = text[at:]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._lines.append(value)
            self._letters += len(line)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> Event | None:
        """A blank line ends an event; one without data only sets the id."""
        name, lines, self._name, self._lines, self._letters = self._name, self._lines, "", [], 0
        if self._id is not None:
            self.last_id, self._id = self._id, None
        return Event(name or "message", "\n".join(lines), self.last_id) if lines else None


def _line_end(text: bytes, at: int) -> tuple[int, int] | None:
    """Where the line that begins at `at` ends and the next begins; lines end in CR, LF or both."""
    feed = text.find(b"\n", at)
    ret = text.find(b"\r", at, len(text) if feed == -1 else feed)
    if ret == -1:
        return None if feed == -1 else (feed, feed + 1)
    if ret + 1 == len(text):
        return None
    return ret, ret + (2 if text[ret + 1 : ret + 2] == b"\n" else 1)
