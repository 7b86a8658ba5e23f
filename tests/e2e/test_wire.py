"""Hostile HTTP, byte by byte: what can't be read is a problem document, what waits too long is ended."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

_HEAD = b"POST /fuse HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
_PART = b'--b\r\nContent-Disposition: form-data; name="model"; filename="a.pt"\r\n\r\n'


@pytest.fixture(scope="module")
def api(api_with: Callable[..., Any]) -> Any:
    return api_with(header_seconds=0.6, upload_idle_seconds=0.6, min_upload_bytes_per_second=50_000, stall_seconds=0.6)


def _problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status}"), answer[:300]
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert "x-content-type-options: nosniff" in lines
    assert not [line for line in lines if line.startswith("server:")]
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize(
    "request_",
    [
        _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        _HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        _HEAD + b"Content-Length: 5, 6\r\n\r\nhello",
        _HEAD + b"Content-Length: +5\r\n\r\nhello",
        _HEAD + b"Content-Length: 0x5\r\n\r\nhello",
        _HEAD + b"Content-Length: -1\r\n\r\n",
        _HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        _HEAD.replace(b"1.1\r\n", b"1.0\r\n") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x01b\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\nHost: local host\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
    ],
)
def test_what_may_be_read_in_two_ways_is_not_read_at_all(api: Any, request_: bytes) -> None:
    _problem(api.say(request_), 400, "bad-request")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 3_000_000, 431, "headers-too-large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri-too-long"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "http-version-not-supported"),
    ],
)
def test_a_head_that_is_too_large_or_of_another_version_is_refused(
    api: Any, request_: bytes, status: int, code: str
) -> None:
    _problem(api.say(request_), status, code)


def test_a_body_in_crumbs_is_refused_and_leaves_nothing(api: Any) -> None:
    part = b"%x\r\n%b\r\n" % (len(_PART), _PART)

    _problem(api.say(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + part + b"1\r\na\r\n" * 30_000), 400, "bad-request")

    api.until(lambda: api.blobs() == set())


def test_a_crowd_of_headers_is_refused_wherever_it_is_cut(api: Any) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000

    _problem(api.say(head[:50], head[50:400], head[400:], pause=0.05), 431, "headers-too-large")


def test_lines_of_a_body_are_not_taken_for_headers(api: Any) -> None:
    lines = b"a\n" * 5000
    body = _PART + lines + b"\r\n--b--\r\n"
    head = _HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    for cut in range(5):  # also within the blank line
        at = len(head) - cut
        answer = api.say((head + body)[:at], (head + body)[at:], pause=0.05)
        assert answer.startswith(b"HTTP/1.1 202 "), answer[:300]
        api.http.delete(json.loads(answer.partition(b"\r\n\r\n")[2])["links"]["self"])


def test_trailers_and_chunk_extensions_are_dropped(api: Any) -> None:
    body = _PART + b"x\r\n--b--\r\n"
    chunk = b"%x;name=value\r\n%b\r\n" % (len(body), body)

    answer = api.say(
        _HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\nHost: evil\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 202 ")
    job = json.loads(answer.partition(b"\r\n\r\n")[2])
    api.http.delete(job["links"]["self"])


def test_a_head_that_does_not_end_is_408_and_silence_is_closed(api: Any) -> None:
    _problem(api.say(b"GET / HTTP/1.1\r\nHost: localh"), 408, "too-slow")
    # One byte after another does not help.
    _problem(api.say(*[b"GET / HTTP/1.1\r\n"] + [b"X"] * 8, pause=0.1), 408, "too-slow")
    assert api.say() == b""


def test_the_head_of_a_second_request_has_its_time_too(api: Any) -> None:
    answer = api.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /li", pause=0.2)

    assert answer.startswith(b"HTTP/1.1 200 ")
    _problem(answer[answer.index(b"HTTP/1.1 408") :], 408, "too-slow")


def test_an_upload_that_stops_is_408_and_leaves_nothing(api: Any) -> None:
    _problem(api.say(_HEAD + b"Content-Length: 900\r\n\r\n" + _PART + b"x"), 408, "too-slow")

    assert api.blobs() == set()


def test_an_upload_that_trickles_is_408_and_leaves_nothing(api: Any) -> None:
    answer = api.say(_HEAD + b"Content-Length: 90000\r\n\r\n" + _PART, *[b"x"] * 15, pause=0.1)

    _problem(answer, 408, "too-slow")
    assert api.blobs() == set()


def test_a_client_that_takes_no_answer_is_dropped(api: Any) -> None:
    wanted = 400
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * wanted)
        time.sleep(2)
        answers = b""
        try:
            while piece := connection.recv(1 << 20):
                answers += piece
        except ConnectionError:
            pass

    assert answers.count(b"HTTP/1.1 200") < wanted
    assert api.http.get("/livez").status_code == 200


def test_nothing_of_this_was_a_bug_of_ours(api: Any) -> None:
    log = api.log.read_text()

    assert "Traceback" not in log
    assert "Exception" not in log
