"""Requests as a worker makes them, for jobs in a directory of the test's own."""

from pathlib import Path
from typing import Any

from app.options import FuseOptions
from app.sandbox.limits import Limits
from app.sandbox.wire import Request

LIMITS = Limits(memory=4 << 30, written=1 << 30, threads=100)


def asked(directory: Path, **given: Any) -> Request:
    """A job in `directory`, where `input` lies or will lie."""
    (directory / "work").mkdir(exist_ok=True)
    usual = {"filename": "model.pt", "options": FuseOptions(), "device": "cpu", "limits": LIMITS, "mode": "required"}
    return Request(directory=str(directory), **{**usual, **given})
