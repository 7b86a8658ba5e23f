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
_CRUMBS_AFTER = 4096
_SMALLEST_MEAN_CHUNK = 128
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class StrictConnection(h11.Connection):
    """The server's side of a connection; `next_event` raises RemoteProtocolError with the status as its hint."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._chunks = 0
        self._chunked_bytes = 0

    def next_event(self) -> "h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]":
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._chunked_bytes = 0
            _check_head(event)
        elif isinstance(event, h11.Data):
            self._check_crumbs(event)
        return event

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
