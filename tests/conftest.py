"""What tests of several packages need."""

import os
from pathlib import Path

import pytest

# Before torch is loaded: threads that wait must not spin, or a busy machine takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """A real checkpoint: the large YOLOv7 one where it is at hand, else the largest of the tests' own."""
    shipped = _ROOT.parent / "shared" / "checkpoints" / "yolov7.pt"
    if shipped.exists():
        return shipped
    own = sorted((_ROOT / "tests" / "data").glob("*.pt"), key=lambda path: path.stat().st_size)
    assert own, "tests/data holds no checkpoint"
    return own[-1]
