"""A worker's look at the GPU, by a process of its own: neither the worker nor what forks its children starts CUDA."""

import subprocess
import sys

from pydantic import ValidationError

from app.devices.environment import environment
from app.devices.found import Found

_SECONDS = 120.0  # torch is loaded and a context made, perhaps on a busy machine


def look(index: int) -> Found:
    """What a process of its own finds. One that dies or hangs is a GPU that does not work."""
    program = [sys.executable, "-m", "app.devices.probe", str(index)]
    try:
        ended = subprocess.run(
            program, env=environment(1), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _nothing(f"it gave no answer within {_SECONDS:g} seconds")
    try:
        return Found.model_validate_json(ended.stdout)
    except ValidationError:
        return _nothing(f"the process that looked ended with code {ended.returncode}")


def _nothing(failure: str) -> Found:
    return Found(torch="unknown", cuda="unknown", failure=failure)
