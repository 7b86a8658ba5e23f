"""The rows that were measured, kept as JSON: what was measured of the same code is not measured again."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.families.ours import ROOT

_SECONDS = 1800  # a row, on a machine that does other things as well
_MEASURED_BY = ("row.py", "models.py", "left.py", "ours.py")

Row = dict[str, Any]  # a bench.families.row.Row as JSON, or its `problem`


class Kept:
    """Rows by name in one file; each is written as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
        self.code = _code()

    def measured(self, name: str) -> Row:
        """The row of this code and these packages, in a process of its own unless it is there already."""
        found = self.rows.get(name)
        if found is None or found["code"] != self.code or "problem" in found:
            self.rows[name] = found = {"code": self.code, **_measure(name)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")
        return found


def _measure(name: str) -> Row:
    start = time.monotonic()
    command = [sys.executable, "-m", "bench.families.row", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return {"name": name, "problem": f"not done after {_SECONDS} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"name": name, "problem": (lines[-1] if lines else f"exit code {done.returncode}")[:300]}
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": round(time.monotonic() - start, 1)}


def _code() -> str:
    """A digest of the engine, of what measures, and of the packages' versions."""
    sources = [
        *sorted((ROOT / "app" / "engine").rglob("*.py")),
        *(Path(__file__).parent / name for name in _MEASURED_BY),
    ]
    digest = hashlib.sha256("".join(_packages()).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _packages() -> Iterator[str]:
    for package in ("torch", "torchvision", "timm"):
        yield f"{package} {version(package)} "
