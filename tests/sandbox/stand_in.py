"""A warm parent whose children are not ours: each does what its file name says, with the rights of a real child.

Started by a Forge as `python -m tests.sandbox.stand_in FD`: the warm parent itself is the real one.
"""

import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from app.sandbox import child, confine, forge
from app.sandbox.wire import Request, Trial

_PAGES = 1 << 24


def misbehave(request: Request | Trial, channel: int, words: int, parent: int) -> NoReturn:
    assert isinstance(request, Request)
    try:
        confine.die_with_parent(parent)
        child._keep_only(channel, words)
        confine.confine(child.terms_of(request))
        ACTS[request.filename.partition(":")[0]](request.filename.partition(":")[2])
    finally:
        sys.stderr.flush()
        os._exit(0)


def say(text: str) -> None:
    view = memoryview(text.encode("utf-8", "surrogatepass") + b"\n")
    while view:
        view = view[os.write(child.CHANNEL, view) :]


def _hold_anonymous(_: str) -> None:
    held = []
    while True:
        held.append(b"x" * _PAGES)


def _hold_shared(_: str) -> None:
    held = []
    while True:
        held.append(mmap.mmap(-1, _PAGES))
        held[-1].write(b"x" * _PAGES)


def _page_tables(_: str) -> None:
    """Memory of which only zeros are read costs no pages, but tables of them."""
    held = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
    for at in range(0, 1 << 40, 1 << 21):
        held[at]


def _threads(_: str) -> None:
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def _files(_: str) -> None:
    """Each is small enough, and none has a name any more."""
    held = []
    while True:
        held.append(os.open("scratch", os.O_WRONLY | os.O_CREAT, 0o600))
        os.write(held[-1], bytes(_PAGES))
        Path("scratch").unlink()


def _crowd(_: str) -> None:
    """Files without content, and with long names."""
    number = 0
    while True:
        os.close(os.open(f"{number:0>200}", os.O_WRONLY | os.O_CREAT, 0o600))
        number += 1


def _talk(_: str) -> None:
    for _n in range(20000):
        sys.stderr.write("\x1b[2J2026-11-28 00:00:00 INFO fusebox.worker: all is well\n" * 10)
    say('{"kind": "finished"}')


def _answer_and_stay(_: str) -> None:
    say('{"kind": "finished"}')
    time.sleep(60)


def _flood(_: str) -> None:
    while True:
        say('{"kind": "progress", "phase": "reading"}')


def _deep(_: str) -> None:
    say('{"kind": "rejected", "problem": ' + "[" * 200_000)


def _endless(_: str) -> None:
    while True:
        os.write(child.CHANNEL, b"x" * 65536)


def _call_forbidden(_: str) -> None:
    from app.sandbox.kernel.seccomp import architecture
    from app.sandbox.kernel.system import call

    call("ptrace", architecture().calls["ptrace"], 0, 0, 0, 0)


def _sleep(_: str) -> None:
    time.sleep(60)


def _problem(facts: str) -> None:
    problem = {"code": "malformed-file", "status": 422, "title": "The file is damaged or not what it claims to be"}
    say(json.dumps({"kind": "rejected", "problem": {**problem, "detail": "d", "remedy": "", **json.loads(facts)}}))


ACTS: dict[str, Callable[[str], None]] = {
    "hold-anonymous": _hold_anonymous,
    "hold-shared": _hold_shared,
    "page-tables": _page_tables,
    "threads": _threads,
    "files": _files,
    "crowd": _crowd,
    "talk": _talk,
    "answer-and-stay": _answer_and_stay,
    "flood": _flood,
    "deep": _deep,
    "endless": _endless,
    "call-forbidden": _call_forbidden,
    "sleep": _sleep,
    "say": say,
    "problem": _problem,
}

if __name__ == "__main__":
    forge.run_child = misbehave
    forge.main()
