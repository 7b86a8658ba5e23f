"""Weights that are computed a few output channels at a time are those that are computed at once."""

from pathlib import Path

import pytest
import torch

from app.engine import algebra
from app.engine.algebra import sums
from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.fuse.places import places
from app.engine.fuse.survey import survey
from app.engine.interpret import affine
from app.engine.ir.checkpoint import find_model

BLOCKS = Path(__file__).resolve().parents[2] / "data" / "yolov7-blocks"


@pytest.mark.parametrize("name", ["RepConv_identity", "RepConv_stride"])
@pytest.mark.parametrize("block_bytes", [1, 4000, 1 << 20])
def test_branches_summed_in_blocks_of_rows_are_the_branches_summed_at_once(name, block_bytes, monkeypatch):
    monkeypatch.setattr(sums, "BLOCK_BYTES", block_bytes)
    module = find_model(read_file(BLOCKS / f"{name}.pt").root).module
    traced = trace(module, family_of(module).example_shapes(module), family_of)
    (region,) = affine.read(traced.graph, places(traced, survey(module))).regions
    assert region.pending.core.branches is not None

    in_blocks = region.pending.rounded(torch.float32)

    at_once = algebra.round_map(region.pending.convolution(), torch.float32)
    assert torch.equal(in_blocks.weight, at_once.weight)
    assert torch.equal(in_blocks.bias, at_once.bias)
