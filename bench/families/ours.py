"""Fusebox by its command line: a file in, a file out, how long it took and the most memory it had."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Fused:
    report: dict[str, Any]
    seconds: float
    peak_mib: float


def fuse(source: Path, target: Path, *options: str) -> Fused | str:
    """The last line of what it says, if it fails."""
    report = target.with_suffix(".json")
    words = target.with_suffix(".words")
    start = time.perf_counter()
    with words.open("wb") as said:
        running = subprocess.Popen(
            [sys.executable, "-m", "app", "fuse", source, "-o", target, "--report", report, *options],
            cwd=ROOT,
            stdout=said,
            stderr=said,
        )
        _, status, used = os.wait4(running.pid, 0)
    seconds = time.perf_counter() - start
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        lines = words.read_text().strip().splitlines()
        return " ".join(lines[-3:])[:400] if lines else f"exit code {running.returncode}"
    return Fused(json.loads(report.read_text()), seconds, used.ru_maxrss / 1024)
