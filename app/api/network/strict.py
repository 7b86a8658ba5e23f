"""Requests are read more strictly than h11 does by itself: what a proxy may understand otherwise is refused.

h11 alone refuses conflicting lengths, other transfer codings than `chunked`, spaces before colons, broken chunks and
more than one Host. It lets a chunked body have a length, too, and reads any number of headers and chunks.
"""

import re

import h11

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10
MAX_HEAD_BYTES = MAX_HEADER_BYTES + MAX_TARGET_BYTES + 4096
# Reading a chunk costs as much as reading 10 kB within one: a body in crumbs would keep this process from all others.
_CRUMBS_AFTER = 64
_SMALLEST_MEAN_CHUNK = 1024
_BLANK_LINE = re.compile(rb"\n\r?\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class StrictConnection(h11.Connection):
    """The server's side of a connection; `next_event` raises RemoteProtocolError with the status as its hint."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._lines = 0
        self._tail = b""
        self._chunks = 0
        self._chunked_bytes = 0

    def receive_data(self, data: bytes) -> None:
        if self.their_state is h11.IDLE:
            self._count_lines(data)
        super().receive_data(data)

    def next_event(self) -> "h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]":
        if self._lines > MAX_HEADERS + 2:  # the request line, the blank one
            raise h11.RemoteProtocolError("there are too many headers", error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._lines, self._tail = 0, b""
            self._chunks = self._chunked_bytes = 0
            _check_head(event)
        elif isinstance(event, h11.Data):
            self._check_crumbs(event)
        return event

    def _count_lines(self, data: bytes) -> None:
        """Lines of the head, before they are parsed: a thousand headers take that much longer than a look at them."""
        known = self._tail + data
        blank = _BLANK_LINE.search(known)
        self._lines += known.count(b"\n", len(self._tail), blank.end() if blank else len(known))
        self._tail = known[-2:]

    def _check_crumbs(self, piece: h11.Data) -> None:
        self._chunks += piece.chunk_start
        self._chunked_bytes += len(piece.data)
        if self._chunks > _CRUMBS_AFTER and self._chunked_bytes < self._chunks * _SMALLEST_MEAN_CHUNK:
            raise h11.RemoteProtocolError("the chunks of the body are too small")


def _check_head(request: h11.Request) -> None:
    names = [name for name, _ in request.headers]
    chunked = b"transfer-encoding" in names
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("the version is not 1.0 or 1.1", error_status_hint=505)
    if len(request.target) > MAX_TARGET_BYTES:
        raise h11.RemoteProtocolError("the target is too long", error_status_hint=414)
    if len(names) > MAX_HEADERS or sum(len(name) + len(value) for name, value in request.headers) > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError("the headers are too large", error_status_hint=431)
    if chunked and (b"content-length" in names or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("a chunked body has no Content-Length, and does not exist in HTTP/1.0")
    if any(_CONTROL.search(value) for _, value in request.headers):
        raise h11.RemoteProtocolError("a header holds a control character")
