"""`make bench-hostile`: every hostile file of the tests by HTTP against a service of its own, good jobs in between.

Prints payloads tried and executed, worst and 99th-percentile time to the answer, peak memory of a child, and how many
good jobs an hour go through alone and while bad ones arrive.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.hostile.corpus import Case, assemble, corpus

_ROOT = Path(__file__).resolve().parent.parent
_WAIT = 120


@dataclass(slots=True)
class Seen:
    """What was measured."""

    seconds: list[tuple[float, str]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    good: int = 0
    peak: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--good", type=Path, help="a checkpoint that is fused in between; default: a small one")
    parser.add_argument("--every", type=int, default=100, help="hostile files between two good ones")
    parser.add_argument("--step", type=int, default=1, help="try only each nth file")
    parser.add_argument("--sandbox", default="", help="FUSEBOX_SANDBOX of the service: `off` tries the readers alone")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    good = asked.good.read_bytes() if asked.good else assemble.saved()
    with tempfile.TemporaryDirectory() as scratch, _service(Path(scratch), asked.sandbox) as (url, pid):
        canaries = Path(scratch) / "canaries"
        canaries.mkdir()
        with httpx.Client(base_url=url, timeout=_WAIT + 20) as http:
            figures = _measure(http, pid, list(corpus(canaries))[:: asked.step], good, asked.every)
            figures["sandbox"] = http.get("/readyz").json().get("sandbox")
        figures["executed"] = len(list(canaries.iterdir()))
    for name, value in figures.items():
        print(f"{name}: {value}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _measure(http: httpx.Client, pid: int, cases: list[Case], good: bytes, every: int) -> dict[str, object]:
    alone = _rate(http, good, 10)
    before = _tree(pid)
    seen, stop = Seen(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, seen, stop))
    watcher.start()
    began = time.monotonic()
    for number, case in enumerate(cases, 1):
        _try(http, case, seen)
        if number % every == 0:
            assert _job(http, good)["state"] == "succeeded", f"no good file is fused after {case.name}"
            seen.good += 1
    serial = time.monotonic() - began
    mixed = _rate_beside(http, good, cases)
    stop.set()
    watcher.join()
    after = _tree(pid)
    times = sorted(seconds for seconds, _ in seen.seconds)
    return {
        "payloads tried": len(cases),
        "codes": dict(seen.codes.most_common()),
        "answered with anything but a 4xx": seen.odd,
        "processes that ended": sorted(set(before) - set(after)),
        "processes that came": [_read(f"/proc/{one}/cmdline").replace("\0", " ") for one in set(after) - set(before)],
        "worst answer, s": [round(seconds, 3) for seconds, _ in sorted(seen.seconds)[-1:]],
        "slowest": [(name, round(seconds, 2)) for seconds, name in sorted(seen.seconds)[-5:]],
        "99th percentile, s": round(times[int(0.99 * (len(times) - 1))], 3),
        "median, s": round(statistics.median(times), 3),
        "peak memory of a child, MiB": seen.peak >> 20,
        "good files fused in between": seen.good,
        "hostile files a minute": round(60 * len(cases) / serial),
        "good jobs a minute, alone": round(alone),
        "good jobs a minute, with as many bad ones": round(mixed),
    }


def _try(http: httpx.Client, case: Case, seen: Seen) -> None:
    began = time.monotonic()
    job = _job(http, case.content, **dict(case.options))
    seen.seconds.append((time.monotonic() - began, case.name))
    problem = job.get("problem") or {}
    seen.codes[str(problem.get("code", job.get("state")))] += 1
    if not 400 <= int(problem.get("status", 200)) < 500:
        seen.odd.append(f"{case.name}: {problem or job.get('state')}")


def _job(http: httpx.Client, content: bytes, **form: str) -> dict[str, object]:
    sent = http.post("/fuse", files={"model": ("model.pt", content)}, data=form)
    if sent.status_code != 202:
        return {"state": "refused", "problem": sent.json()}
    while True:
        job: dict[str, object] = http.get(f"/v1/jobs/{sent.json()['id']}", params={"wait": _WAIT}).json()
        if job["state"] not in ("queued", "running"):
            return job


def _rate(http: httpx.Client, good: bytes, count: int) -> float:
    began = time.monotonic()
    for _ in range(count):
        assert _job(http, good)["state"] == "succeeded"
    return 60 * count / (time.monotonic() - began)


def _rate_beside(http: httpx.Client, good: bytes, cases: list[Case]) -> float:
    """Good jobs a minute while another client sends bad files one after the other."""
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            for case in cases[::7]:
                if stop.is_set():
                    return
                _job(http, case.content, **dict(case.options))

    other = threading.Thread(target=send)
    other.start()
    try:
        return _rate(http, good, 10)
    finally:
        stop.set()
        other.join()


def _watch(pid: int, seen: Seen, stop: threading.Event) -> None:
    """The largest resident set of any process below the warm parent."""
    while not stop.wait(0.02):
        for child in _tree(pid, below_warm_parent=True):
            seen.peak = max(seen.peak, _peak(child))


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def _tree(pid: int, below_warm_parent: bool = False) -> list[int]:
    """The service's processes that stay: all but what the warm parent forks; or only these."""
    found, forked, waiting = [], [], [(pid, False)]
    while waiting:
        one, below = waiting.pop()
        (forked if below else found).append(one)
        warm = "app.sandbox.forge" in _read(f"/proc/{one}/cmdline")
        for task in _tasks(one):
            waiting.extend((int(child), below or warm) for child in _read(f"{task}/children").split())
    return sorted(forked if below_warm_parent else found)


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []  # It has ended since.


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@contextmanager
def _service(scratch: Path, sandbox: str) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {key: value for key, value in os.environ.items() if not key.startswith("FUSEBOX_")}
    given |= {"FUSEBOX_MIN_FREE_BYTES": "1", "FUSEBOX_MAX_WAIT_SECONDS": str(_WAIT), "FUSEBOX_DEVICE": "cpu"}
    given |= {"FUSEBOX_SANDBOX": sandbox} if sandbox else {}
    with (scratch / "log").open("wb") as log:
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--data-dir", str(scratch / "data")]
        served = subprocess.Popen(command, cwd=_ROOT, env=given, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield url, served.pid
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(60)


if __name__ == "__main__":
    main()
