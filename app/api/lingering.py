"""Answering before the request has ended, so that the answer arrives.

A server that answers and closes while the client still sends resets the connection, and the reset may overtake the
answer. So the answer goes out at once, and what the client still sends is read and dropped for a while, until it has
seen the answer and stops. The same as nginx's `lingering_close`.
"""

from collections.abc import AsyncIterator

import anyio
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_LONGEST_SECONDS = 15.0
_IDLE_SECONDS = 1.0


class Body:
    """The body of a request, piece by piece; it knows whether it has begun and ended."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.begun = False
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._request.stream():
            self.begun = True
            yield piece
        self.ended = True

    @property
    def awaits_permission(self) -> bool:
        """The client sends nothing before it is told to: to read on would be to tell it."""
        return not self.begun and self._request.headers.get("expect", "").lower() == "100-continue"


class LingeringResponse(Response):
    """An answer whose connection is closed only after the client has stopped sending."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        with anyio.move_on_after(_LONGEST_SECONDS):
            await _drop_the_rest(receive)
        await send({"type": "http.response.body", "body": b""})


def linger(answer: Response) -> LingeringResponse:
    """The same answer, given while the client still sends."""
    return LingeringResponse(answer.body, answer.status_code, dict(answer.headers))


async def _drop_the_rest(receive: Receive) -> None:
    more = True
    while more:
        more = False
        with anyio.move_on_after(_IDLE_SECONDS):
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
