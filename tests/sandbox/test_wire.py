import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedFile, Problem
from app.sandbox.wire import MAX_LINE, Exited, Finished, Lines, Progress, ProtocolError, Rejected, send

_MESSAGES = [
    Progress(phase="fusing"),
    Finished(),
    Exited(code=-9),
    Rejected(problem=Problem.of(MalformedFile("line one\nline two", remedy="ä", found=["a", 1]))),
]


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


@given(cuts=st.lists(st.integers(1, 400), max_size=6))
def test_messages_arrive_whole_however_the_socket_cuts_them(cuts: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in _MESSAGES:
            send(theirs, message)
        theirs.close()
        raw = b""
        while piece := ours.recv(65536):
            raw += piece
    received = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lines = Lines(ours)
        edges = [*sorted({min(cut, len(raw) - 1) for cut in cuts} | {0}), len(raw)]
        for start, stop in pairwise(edges):
            theirs.sendall(raw[start:stop])
            received += lines.read()

    assert received == _MESSAGES


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"nonsense", b'{"kind": "root"}', b'{"kind":"finished","more":1}', b"\xff\xfe", b""]
)
def test_what_is_no_message_is_an_error(pair: tuple[socket.socket, socket.socket], line: bytes) -> None:
    ours, theirs = pair
    with ours, theirs:
        theirs.sendall(line + b"\n")

        with pytest.raises(ProtocolError):
            Lines(ours).read()


def test_a_line_without_end_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    lines = Lines(ours)

    def feed() -> None:
        for _ in range(MAX_LINE // 32768 + 2):
            theirs.sendall(bytes(32768))
            lines.read()

    with ours, theirs, pytest.raises(ProtocolError):
        feed()


def test_the_end_of_the_other_side_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    lines = Lines(ours)
    with ours:
        theirs.close()

        assert lines.read() == []
        assert lines.closed
