"""The outermost layer of the application: what holds for every request and every answer, whatever the route.

It refuses hosts and pages that have no business here, completes the headers of each answer, tells those whom the end of
the service cuts off, and lets an answer arrive that is given before the request has ended. A server that answers and
closes while the client still sends resets the connection, and the reset may overtake the answer. So the answer goes out
at once, and what the client still sends is read and dropped for a while, until it has seen the answer and stops. The
same as nginx's `lingering_close`.
"""

from asyncio import CancelledError
from dataclasses import dataclass, field
from threading import Event

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.network.headers import secured
from app.api.network.hosts import HostRules
from app.api.problems import answer_error
from app.api.refusals import Stopping
from app.errors import AppError

_LONGEST_SECONDS = 15.0
_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Guard:
    """The application behind its rules."""

    app: ASGIApp
    hosts: HostRules
    stopping: Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(Headers(scope=scope), receive, send)
        app = self.app
        try:
            self.hosts.check(scope["method"], exchange.headers)
        except AppError as error:
            app = answer_error(error, scope["path"])
        try:
            await app(scope, exchange.receive, exchange.send)
        except CancelledError:
            if not self.stopping.is_set():
                raise
            if not exchange.answered:
                await _stopped(scope["path"])(scope, exchange.receive, exchange.send)


def _stopped(path: str) -> Response:
    return answer_error(
        Stopping("The service stops, and the request was cut off.", remedy="Send it again in a minute."), path
    )


@dataclass(slots=True)
class _Exchange:
    """One request and its answer."""

    headers: Headers
    _receive: Receive
    _send: Send
    answered: bool = False
    _begun: bool = False
    _ended: bool = field(init=False)

    def __post_init__(self) -> None:
        self._ended = "transfer-encoding" not in self.headers and self.headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        message = await self._receive()
        self._begun = True
        self._ended = self._ended or message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answered = True
            await self._send({**message, "headers": self._headers(list(message.get("headers", [])))})
        elif message.get("more_body", False) or self._ended or self._awaits_permission:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            with anyio.move_on_after(_LONGEST_SECONDS):
                await self._drop_the_rest()
            await self._send({"type": "http.response.body", "body": b""})

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        more = [] if self._ended else [(b"connection", b"close")]
        return secured([*(pair for pair in headers if pair[0].lower() != b"connection" or self._ended), *more])

    @property
    def _awaits_permission(self) -> bool:
        """The client sends nothing before it is told to: to read on would be to tell it."""
        return not self._begun and self.headers.get("expect", "").lower() == "100-continue"

    async def _drop_the_rest(self) -> None:
        while not self._ended:
            with anyio.move_on_after(_IDLE_SECONDS) as idle:
                await self.receive()
            if idle.cancelled_caught:
                return
