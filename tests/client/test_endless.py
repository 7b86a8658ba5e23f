"""The client before servers that send without end, over real sockets: a typed error, and no more memory than said."""

import asyncio
import base64
import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fusebox_client import AnswerTooLarge, AsyncFusebox, Fusebox, UnexpectedAnswer
from fusebox_client.talk.bounded import LONGEST_ANSWER, LONGEST_EVENT, LONGEST_PROBLEM
from tests.client.conftest import QUICK

_PIECE = b"[1, 2, 3], " * 6000
_ROOM = 16 << 20  # for buffers of the system and of the libraries, beside what is held
_JSON, _PROBLEM = "application/json", "application/problem+json"


def _job(state: str) -> bytes:
    source = {"filename": "m.pt", "bytes": 1, "sha256": "0" * 64}
    output = source if state == "succeeded" else None
    times = dict.fromkeys(("created_at", "started_at", "finished_at"), "2026-11-28T09:30:00Z")
    told = {"id": "a", "state": state, "phase": None, "attempts": 1, "input": source, "output": output, "problem": None}
    return json.dumps(told | times).encode()


@dataclass(slots=True)
class Answer:
    """What the server sends: a head, and pieces as long as somebody takes them."""

    pieces: Callable[[], Iterator[bytes]]
    status: int = 200
    kind: str = _JSON
    coding: str = ""
    more: str = ""

    def head(self) -> bytes:
        coding = f"Content-Encoding: {self.coding}\r\n" if self.coding else ""
        kind = f"Content-Type: {self.kind}\r\n"
        head = f"HTTP/1.1 {self.status} Told\r\n{kind}{coding}{self.more}Connection: close\r\n\r\n"
        return head.encode()


@dataclass(slots=True)
class Server:
    """Answers by the end of the path; counts what it could send."""

    answers: dict[str, Answer]
    sent: int = 0
    door: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65536)
            method, path = asked.decode().split(" ")[:2]
            asked_for = "HEAD" if method == "HEAD" else path.partition("?")[0]
            answer = next(one for end, one in self.answers.items() if asked_for.endswith(end))
            try:
                connection.sendall(answer.head())
                for piece in answer.pieces():
                    connection.sendall(piece)
                    self.sent += len(piece)
            except OSError:
                return


@pytest.fixture
def server() -> Iterator[Callable[[dict[str, Answer]], Server]]:
    made: list[Server] = []

    def start(answers: dict[str, Answer]) -> Server:
        made.append(Server(answers))
        threading.Thread(target=made[-1].serve, daemon=True).start()
        return made[-1]

    yield start
    for one in made:
        one.door.close()


def _endless() -> Iterator[bytes]:
    yield b"["
    while True:
        yield _PIECE


def _endless_when_unpacked() -> Iterator[bytes]:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    while True:
        if piece := packing.compress(bytes(1 << 20)):
            yield piece


def _once(body: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((body,))


def _raised(act: Callable[[], object]) -> tuple[BaseException, int]:
    """What is raised, and the most memory that Python had to take for it."""
    tracemalloc.start()
    try:
        with pytest.raises(UnexpectedAnswer) as raised:
            act()
        return raised.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _report(url: str) -> object:
    return Fusebox(url, patience=QUICK).job("a").report_json()


def _report_async(url: str) -> object:
    async def read() -> object:
        async with AsyncFusebox(url, patience=QUICK) as service:
            return await (await service.job("a")).report_json()

    return asyncio.run(read())


@pytest.mark.parametrize("read", [_report, _report_async])
@pytest.mark.parametrize(
    "endless", [Answer(_endless), Answer(_endless_when_unpacked, coding="gzip")], ids=["plain", "gzip"]
)
def test_a_report_without_end_is_left_at_the_limit(
    server: Callable[..., Server], read: Callable[[str], object], endless: Answer
) -> None:
    one = server({"/report": endless, "/a": Answer(_once(_job("succeeded")))})

    error, memory = _raised(lambda: read(one.url))

    assert isinstance(error, AnswerTooLarge)
    assert f"{LONGEST_ANSWER:,} bytes" in str(error)
    # Held once as it grows; a bytearray may be moved while it does.
    assert memory < 2 * LONGEST_ANSWER + _ROOM
    assert one.sent < LONGEST_ANSWER + _ROOM


@pytest.mark.parametrize(
    "act",
    [
        lambda service: service.job("a"),
        lambda service: list(service.jobs()),
    ],
    ids=["job", "list"],
)
def test_so_is_every_other_answer_that_is_held_whole(server: Callable[..., Server], act: Callable[..., object]) -> None:
    one = server({"": Answer(_endless)})

    error, _ = _raised(lambda: act(Fusebox(one.url, patience=QUICK)))

    assert isinstance(error, AnswerTooLarge)


def test_a_problem_without_end_is_left_early_where_a_file_is_asked_for(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    digest = base64.b64encode(bytes(32)).decode()
    head = Answer(_once(b""), more=f"Content-Length: 9\r\nRepr-Digest: sha-256=:{digest}:\r\n")
    refused = Answer(_endless, status=403, kind=_PROBLEM)
    one = server({"HEAD": head, "/model": refused, "/a": Answer(_once(_job("succeeded")))})

    error, memory = _raised(lambda: Fusebox(one.url, patience=QUICK).job("a").download(tmp_path))

    assert isinstance(error, AnswerTooLarge)
    assert f"{LONGEST_PROBLEM:,} bytes" in str(error)
    assert memory < _ROOM


@pytest.mark.parametrize("line", [b"data: ", b"", b"data: 12345\n"], ids=["a line", "no field", "many lines"])
def test_an_event_without_end_is_left_at_its_limit(server: Callable[..., Server], line: bytes) -> None:
    def events() -> Iterator[bytes]:
        yield line
        while True:
            yield line * 8000 if line.endswith(b"\n") else b"x" * 65536

    one = server({"/events": Answer(events, kind="text/event-stream"), "/a": Answer(_once(_job("running")))})

    error, _ = _raised(lambda: Fusebox(one.url, patience=QUICK).job("a").wait())

    assert isinstance(error, AnswerTooLarge)
    assert f"{LONGEST_EVENT:,} bytes" in str(error)
    assert one.sent < 2 * LONGEST_EVENT + _ROOM


def test_a_refusal_of_events_without_end_is_left_early(server: Callable[..., Server]) -> None:
    refused = Answer(_endless, status=403, kind=_PROBLEM)
    one = server({"/events": refused, "/a": Answer(_once(_job("running")))})

    error, memory = _raised(lambda: Fusebox(one.url, patience=QUICK).job("a").wait())

    assert isinstance(error, AnswerTooLarge)
    assert f"{LONGEST_PROBLEM:,} bytes" in str(error)
    assert memory < _ROOM


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(_once(b"[" * 100_000 + b"]" * 100_000)), "not answered with a JSON object"),
        (Answer(_once(b"[" * 100_000), status=422, kind=_PROBLEM), "is that a Fusebox service?"),
        (Answer(_once(b"no gzip"), coding="gzip"), "can't be unpacked"),
        (Answer(_once(gzip.compress(_job("running"))[:-9]), coding="gzip"), "ends too early"),
        (Answer(_once(_job("running")), coding="br"), "answers in br"),
    ],
    ids=["deep", "deep problem", "no gzip", "cut gzip", "other coding"],
)
def test_what_can_not_be_read_is_no_answer_of_a_service(
    server: Callable[..., Server], answer: Answer, said: str
) -> None:
    one = server({"": answer})

    error, _ = _raised(lambda: Fusebox(one.url, patience=QUICK).job("a"))

    assert said in str(error)


def test_a_packed_answer_is_read(server: Callable[..., Server]) -> None:
    one = server({"": Answer(_once(gzip.compress(_job("running"))), coding="gzip")})

    assert Fusebox(one.url, patience=QUICK).job("a").state == "running"
