"""Random programs through the whole pipeline: none fails, each computes what it did with no more operators."""

import warnings

import pytest
import torch
from torch.export import Dim

from app.engine import fuse_checkpoint
from app.options import FuseOptions
from tests.engine.formats.pt2.drawn import Drawn
from tests.engine.formats.pt2.exporting import call, load, read, targets


def saved(module, mode, path):
    """As exported, decomposed, or with sizes left open; None where torch itself can't export it."""
    shapes = ({0: Dim.AUTO, 2: Dim.AUTO},) if mode == "dynamic" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (module.example.clone(),), dynamic_shapes=shapes)
        except (RuntimeError, torch._dynamo.exc.UserError):
            return None
        program = program.run_decompositions() if mode == "decomposed" else program
        torch.export.save(program, path)
    return program


@pytest.mark.parametrize("mode", ["as written", "decomposed", "dynamic"])
@pytest.mark.parametrize(("seed", "dims"), [(1, 1), (2, 2), (3, 2), (4, 3)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_a_random_program_is_fused_and_computes_what_it_did(tmp_path, mode, seed, dims):
    module = Drawn(seed, dims, 12)
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    before = saved(module, mode, source)
    if before is None:
        return

    report = fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert report.equivalence.identity.relative < 1e-11
    assert report.summary.operators_after <= report.summary.operators_before
    assert len(targets(read(target))) <= len(targets(read(source)))
    found, expected = (call(program, module.example.clone()) for program in (load(target), before))
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-4 * other.abs().max() + 1e-6
