"""What looks like an attack and is none: the file is fused as far as it can be, and comes back."""

from pathlib import Path

import pytest

from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from tests.hostile.corpus.tensors import ODD


@pytest.mark.parametrize("what", ODD)
def test_a_layer_that_is_odd_and_can_run_is_no_error(what: str, tmp_path: Path) -> None:
    (tmp_path / "odd.pt").write_bytes(ODD[what]())

    report = fuse_checkpoint(tmp_path / "odd.pt", tmp_path / "out.pt", FuseOptions(), filename="odd.pt")

    assert (tmp_path / "out.pt").stat().st_size == report.output.bytes
    assert report.equivalence is None or report.equivalence.passed
    assert len(report.replaced) + len(report.refused) == 1
