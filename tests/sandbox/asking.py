"""Requests as a worker makes them, for jobs in a directory of the test's own."""

from pathlib import Path
from typing import Any

from app.options import FuseOptions
from app.sandbox.confine import Mode
from app.sandbox.kernel import landlock
from app.sandbox.limits import Limits
from app.sandbox.wire import Request


def _mode() -> Mode:
    """With the sandbox on wherever the kernel has one; what it keeps from a child is tested only there."""
    try:
        landlock.version()
    except OSError:
        return "available"
    return "required"


MODE = _mode()
LIMITS = Limits(memory=4 << 30, written=1 << 30, threads=100)


def asked(directory: Path, **given: Any) -> Request:
    """A job in `directory`, where `input` lies or will lie."""
    (directory / "work").mkdir(exist_ok=True)
    usual = {"filename": "model.pt", "options": FuseOptions(), "device": "cpu", "limits": LIMITS, "mode": MODE}
    return Request(directory=str(directory), **{**usual, **given})
