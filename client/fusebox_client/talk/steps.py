"""Conversations with the service, written once as generators of steps; a driver carries the steps out, sync or async.

Nothing here, nor in the conversations beside it, opens a socket, sleeps or knows which driver runs it.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx

T = TypeVar("T")


class Body(Protocol):
    """What an upload sends: its exact length is known, and its bytes can be had again for another attempt."""

    @property
    def content_type(self) -> str: ...

    @property
    def length(self) -> int: ...

    def pieces(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request, relative to the service's URL."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | int | float] = field(default_factory=dict)
    body: Body | None = None
    silence: float = 60  # seconds that the service may say nothing


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still to be read; `source` belongs to the driver."""

    head: httpx.Response
    source: Any


@dataclass(frozen=True, slots=True)
class Send:
    call: Call


@dataclass(frozen=True, slots=True)
class Open:
    call: Call


@dataclass(frozen=True, slots=True)
class Receive:
    stream: Stream


@dataclass(frozen=True, slots=True)
class Close:
    stream: Stream


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Block:
    """Work on files: in a thread, where others would wait for it."""

    work: Callable[[], Any]


Step = Send | Open | Receive | Close | Pause | Block
Talk = Generator[Step, Any, T]


def send(call: Call) -> Talk[httpx.Response]:
    """The whole answer. Raises httpx.TransportError."""
    answer: httpx.Response = yield Send(call)
    return answer


def open_stream(call: Call) -> Talk[Stream]:
    """The answer's head. Raises httpx.TransportError."""
    stream: Stream = yield Open(call)
    return stream


def receive(stream: Stream) -> Talk[bytes]:
    """The next bytes; none at the end. Raises httpx.TransportError."""
    piece: bytes = yield Receive(stream)
    return piece


def close(stream: Stream) -> Talk[None]:
    yield Close(stream)


def pause(seconds: float) -> Talk[None]:
    yield Pause(seconds)


def block(work: Callable[[], T]) -> Talk[T]:
    """What the work returns."""
    result: T = yield Block(work)
    return result
