"""The two drivers of a conversation: over httpx.Client, and over httpx.AsyncClient with file work in threads."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import httpx

from fusebox_client.talk.bounded import Collected
from fusebox_client.talk.steps import Block, Body, Call, Close, Open, Pause, Receive, Send, Step, Stream, T, Talk


def drive(talk: Talk[T], http: httpx.Client) -> T:
    """Run a conversation to its end. What a step raises is raised where the conversation asked for it."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = talk.send(answer) if error is None else talk.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            answer, error = _perform(step, http), None
        except BaseException as raised:  # also Ctrl-C: the conversation closes what it has open
            error = raised


async def drive_async(talk: Talk[T], http: httpx.AsyncClient) -> T:
    """The same, where others run meanwhile."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = talk.send(answer) if error is None else talk.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            answer, error = await _perform_async(step, http), None
        except BaseException as raised:  # also cancellation
            error = raised


def _perform(step: Step, http: httpx.Client) -> Any:
    match step:
        case Send(call):
            return _collect(http.send(_request(call, http, _pieces(call)), stream=True))
        case Open(call):
            head = http.send(_request(call, http, _pieces(call)), stream=True)
            return Stream(head, head.iter_raw())
        case Receive(stream):
            return next(stream.source, b"")
        case Close(stream):
            return stream.head.close()
        case Pause(seconds):
            return time.sleep(seconds)
        case Block(work):
            return work()


async def _perform_async(step: Step, http: httpx.AsyncClient) -> Any:
    match step:
        case Send(call):
            return await _collect_async(await http.send(_request(call, http, _pieces_async(call)), stream=True))
        case Open(call):
            head = await http.send(_request(call, http, _pieces_async(call)), stream=True)
            return Stream(head, head.aiter_raw())
        case Receive(stream):
            return await anext(stream.source, b"")
        case Close(stream):
            with anyio.CancelScope(shield=True):
                return await stream.head.aclose()
        case Pause(seconds):
            return await anyio.sleep(seconds)
        case Block(work):
            return await anyio.to_thread.run_sync(work)


def _collect(head: httpx.Response) -> httpx.Response:
    try:
        body = Collected(head)
        for piece in head.iter_raw():
            body.take(piece)
        return body.whole()
    finally:
        head.close()


async def _collect_async(head: httpx.Response) -> httpx.Response:
    try:
        body = Collected(head)
        async for piece in head.aiter_raw():
            body.take(piece)
        return body.whole()
    finally:
        with anyio.CancelScope(shield=True):
            await head.aclose()


def _pieces(call: Call) -> Iterator[bytes] | None:
    return None if call.body is None else call.body.pieces()


def _pieces_async(call: Call) -> AsyncIterator[bytes] | None:
    return None if call.body is None else _in_threads(call.body)


def _request(
    call: Call, http: httpx.Client | httpx.AsyncClient, content: Iterator[bytes] | AsyncIterator[bytes] | None
) -> httpx.Request:
    headers = dict(call.headers)
    if call.body is not None:
        headers |= {"Content-Type": call.body.content_type, "Content-Length": str(call.body.length)}
    limits = httpx.Timeout(connect=10, read=call.silence, write=60, pool=None)
    return http.build_request(
        call.method, call.path, params=call.query or None, headers=headers, content=content, timeout=limits
    )


async def _in_threads(body: Body) -> AsyncIterator[bytes]:
    """The pieces of a body, each read from the disk in a thread."""
    pieces = body.pieces()
    try:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
