"""A download that survives: each break goes on where it was (RFC 9110, Range and If-Range), also in a later process.

The bytes are collected beside their place in a file named after what they are to become, and take their place at once
when their digest (RFC 9530) is right.
"""

import base64
import binascii
import errno
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import httpx

from fusebox_client.problems import DigestMismatch, UnexpectedAnswer, answer_error
from fusebox_client.progress import Meter, Progress
from fusebox_client.talk.bounded import LONGEST_PROBLEM, Collected
from fusebox_client.talk.patience import Patience, ask, unreachable, why
from fusebox_client.talk.steps import Call, Stream, Talk, block, close, open_stream, pause, receive

_WRITE = 1 << 20
_AGAIN = (408, 425, 429, 502, 503, 504)
_PLAIN = {"Accept-Encoding": "identity"}  # ranges are of the file's own bytes


@dataclass(frozen=True, slots=True)
class Remote:
    """What lies there: its length, its digest and the name of this version of it."""

    path: str
    bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class _Cut:
    """The transfer broke off, or was refused for now."""

    reason: str
    answer: httpx.Response | None = None
    error: httpx.TransportError | None = None


def download(path: str, target: Path, progress: Callable[[Progress], None], patience: Patience) -> Talk[Path]:
    """Fetch what lies at a path of the service into a file. Raises DigestMismatch, Unreachable, OSError."""
    yield from block(lambda: check_target(target))
    remote = yield from _look(path, patience)
    part = target.with_name(f".{target.name}.{remote.sha256[:16]}.part")
    yield from block(lambda: target.parent.mkdir(parents=True, exist_ok=True))
    while True:
        kept = yield from block(lambda: _size(part))
        yield from _fill(remote, part, progress, patience)
        found = yield from block(lambda: _sha256(part))
        if found == remote.sha256:
            break
        yield from block(part.unlink)
        if not kept:  # else what an earlier process left was no good: once more from the beginning
            raise DigestMismatch(f"{target.name} arrived with SHA-256 {found}, not {remote.sha256}; nothing was kept.")
    yield from block(lambda: _publish(part, target))
    return target


def check_target(target: Path) -> None:
    """Raises OSError for what is there and no plain file: to take its name would replace the device or pipe itself."""
    if target.exists() and not target.is_file() and not target.is_dir():
        raise OSError(errno.EINVAL, "is no plain file; give the path of one", str(target))


def _look(path: str, patience: Patience) -> Talk[Remote]:
    try:
        head = yield from ask(Call("HEAD", path, _PLAIN), patience)
    except UnexpectedAnswer:  # an answer to HEAD has no body that could tell the problem
        yield from ask(Call("GET", path, {**_PLAIN, "Range": "bytes=0-0"}), patience)
        raise
    length, etag = head.headers.get("content-length", ""), head.headers.get("etag", "")
    sha256 = _read_digest(head.headers.get("repr-digest", ""))
    if not length.isdecimal() or sha256 is None:
        raise UnexpectedAnswer(f"{head.request.url} tells no length or no SHA-256 of what lies there.")
    return Remote(path, int(length), sha256, etag)


def _fill(remote: Remote, part: Path, progress: Callable[[Progress], None], patience: Patience) -> Talk[None]:
    """Attempts, each from where the last one ended. Patience ends when so many in a row brought nothing."""
    failures = 0
    while not (have := (yield from block(lambda: _size(part)))) or have < remote.bytes:
        cut = yield from _attempt(remote, part, have, progress)
        if cut is None:
            return
        failures = 1 if (yield from block(lambda: _size(part))) > have else failures + 1
        if failures >= patience.attempts:
            raise _given_up(cut)
        seconds = patience.seconds(failures, cut.answer)
        patience.told(cut.reason, seconds)
        yield from pause(seconds)


def _attempt(remote: Remote, part: Path, have: int, progress: Callable[[Progress], None]) -> Talk[_Cut | None]:
    headers = dict(_PLAIN)
    if have and remote.etag:
        headers |= {"Range": f"bytes={have}-", "If-Range": remote.etag}
    try:
        stream = yield from open_stream(Call("GET", remote.path, headers))
    except httpx.TransportError as error:
        return _Cut(why(error), error=error)
    try:
        return (yield from _take(remote, part, have, stream, progress))
    finally:
        yield from close(stream)


def _take(
    remote: Remote, part: Path, have: int, stream: Stream, progress: Callable[[Progress], None]
) -> Talk[_Cut | None]:
    head = stream.head
    if head.status_code not in (200, 206):
        answer = yield from _whole(stream)
        if head.status_code in _AGAIN:
            return _Cut(str(answer_error(answer)), answer=answer)
        raise answer_error(answer)
    if _read_digest(head.headers.get("repr-digest", "")) not in (None, remote.sha256):
        raise DigestMismatch(f"{head.request.url} holds another file than a moment ago.")
    start = _start(head)
    if start not in (0, have):
        raise UnexpectedAnswer(f"{head.request.url} was asked for bytes from {have} on and sends them from {start}.")
    meter = Meter("download", remote.bytes, progress, done=start)
    file: BinaryIO = yield from block(lambda: _open(part, start))
    try:
        return (yield from _copy(stream, file, meter))
    finally:
        yield from block(file.close)


def _copy(stream: Stream, file: BinaryIO, meter: Meter) -> Talk[_Cut | None]:
    """Write what comes; what came before a break is kept. None if the end was reached."""
    batch, cut = bytearray(), None
    while True:
        try:
            piece = yield from receive(stream)
        except httpx.TransportError as error:
            piece, cut = b"", _Cut(why(error), error=error)
        if meter.done + len(piece) > meter.total:
            raise UnexpectedAnswer(f"{stream.head.url} sends more than the {meter.total:,} bytes that it announced.")
        batch += piece
        if len(batch) >= _WRITE or not piece:
            written = bytes(batch)
            batch.clear()
            yield from block(partial(file.write, written))
        if not piece:
            return cut if cut or meter.done >= meter.total else _Cut("the answer ended early")
        meter.moved(len(piece))


def _whole(stream: Stream) -> Talk[httpx.Response]:
    body = Collected(stream.head, LONGEST_PROBLEM)
    while piece := (yield from receive(stream)):
        body.take(piece)
    return body.whole()


def _given_up(cut: _Cut) -> Exception:
    if cut.answer is not None:
        return answer_error(cut.answer)
    return unreachable(cut.error) if cut.error is not None else UnexpectedAnswer(f"The download fails: {cut.reason}.")


def _start(head: httpx.Response) -> int:
    """Where the bytes of this answer belong."""
    found = re.match(r"bytes (\d+)-", head.headers.get("content-range", ""))
    return int(found[1]) if head.status_code == 206 and found else 0


def _read_digest(header: str) -> str | None:
    """SHA-256 in hexadecimal out of a Repr-Digest header (RFC 9530)."""
    found = re.search(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", header)
    try:
        return base64.b64decode(found[1], validate=True).hex() if found else None
    except binascii.Error:
        return None


def _open(part: Path, start: int) -> BinaryIO:
    file = part.open("r+b" if start else "wb")
    file.truncate(start)
    file.seek(start)
    return file


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sha256(part: Path) -> str:
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(part: Path, target: Path) -> None:
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(target)
