"""What tests of several packages need."""

import lzma
import os
from pathlib import Path

import pytest

# Before torch is loaded: threads that wait must not spin, or a busy machine takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real training checkpoint: the large YOLOv7 one where it is at hand, else a small one of the tests' own."""
    shipped = _ROOT.parent / "shared" / "checkpoints" / "yolov7.pt"
    if shipped.exists():
        return shipped
    own = tmp_path_factory.mktemp("checkpoint") / "yolov9-triple.pt"
    own.write_bytes(lzma.decompress((_ROOT / "tests/data/yolov9/yolov9-triple.pt.xz").read_bytes()))
    return own
