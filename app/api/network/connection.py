"""One connection of the API: uvicorn's protocol with limits on how many there are and how slow they may be.

uvicorn by itself waits for ever for the head of a request and for a client that does not read its answer, and answers
what it can't parse in plain text.
"""

import asyncio
import socket
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.network.addresses import client_group, lies_within
from app.api.network.headers import secured
from app.api.network.strict import StrictConnection
from app.api.problems import answer_error
from app.api.refusals import BadRequest, HeadersTooLarge, TooManyConnections, TooSlow, UriTooLong, VersionNotSupported
from app.errors import AppError

# A client that is answered before it has sent all gets so long to read the answer before the connection is reset.
_READ_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and how long one may keep the service waiting."""

    max_connections: int
    max_connections_per_client: int
    head_seconds: float
    stall_seconds: float
    trusted_proxies: frozenset[str]  # they hold connections for others, so their number is not limited


class BoundedConnection(H11Protocol):
    """A connection under limits; `bounded` makes the class with its limits."""

    limits: ClassVar[ConnectionLimits]
    open: ClassVar[Counter[str]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection()
        self._group = ""
        self._ending = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        address = self.client[0] if self.client else None
        self._group = client_group(address)
        self.open[self._group] += 1
        _keep_watch(transport, self.limits.stall_seconds)
        crowd = self.open[self._group] > self.limits.max_connections_per_client
        if len(self.connections) > self.limits.max_connections or (
            crowd and not lies_within(address, self.limits.trusted_proxies)
        ):
            full = TooManyConnections("There are too many connections.", remedy="Close some, or try again.")
            self._answer(full, linger=False)  # It would count as one more for as long.
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open[self._group] -= 1
        if self.open[self._group] <= 0:
            del self.open[self._group]
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        super().data_received(data)
        idle = self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)
        if not idle and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        elif idle and self._head_timer is None and not self._ending:
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        # Every time that the client has read some of it, writing resumes and the time starts anew.
        self._stall_timer = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the request can't be parsed: `sys.exception()` is h11's."""
        match getattr(sys.exception(), "error_status_hint", 400):
            case 414:
                self._answer(UriTooLong("The request line is too long.", remedy="Use the paths of /openapi.json."))
            case 431:
                self._answer(HeadersTooLarge("The headers are too large.", remedy="Send fewer and shorter headers."))
            case 505:
                self._answer(VersionNotSupported("The version of HTTP is not known.", remedy="Use HTTP/1.1."))
            case _:
                self._answer(BadRequest(msg, remedy="Use an HTTP client such as curl."))

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            late = f"The head of the request is not complete after {self.limits.head_seconds:g} seconds."
            self._answer(TooSlow(late, remedy="Send it faster."))
        else:
            self.transport.close()

    def _answer(self, error: AppError, *, linger: bool = True) -> None:
        """Answer in place of the application, and heed no more of what comes."""
        self._ending = True
        self._stop_timers()
        self._unset_keepalive_if_required()
        answering = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # The application hears that the client has gone, and says nothing more.
            self.cycle.message_event.set()
        if not answering:
            self.transport.abort()
            return
        self.transport.write(_as_bytes(self.conn, answer_error(error, "")))
        self.conn = StrictConnection()  # What it had received goes with it.
        if not linger:
            self.transport.close()
            return
        with suppress(OSError):  # The client has gone already.
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_READ_SECONDS, self.transport.abort)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()


def bounded(limits: ConnectionLimits) -> type[BoundedConnection]:
    """The protocol class for a server with these limits, which counts its connections."""
    return type("Bounded", (BoundedConnection,), {"limits": limits, "open": Counter()})


def _as_bytes(connection: h11.Connection, response: Response) -> bytes:
    headers = [*secured(response.raw_headers), (b"connection", b"close")]
    head = h11.Response(status_code=response.status_code, headers=headers)
    parts = [connection.send(part) for part in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


def _keep_watch(transport: asyncio.Transport, seconds: float) -> None:
    """Have the system end a connection whose other side is gone or takes nothing, also after it was closed here."""
    opened = transport.get_extra_info("socket")
    if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
