"""torch.export programs through the whole pipeline: read, fused, proved, written, read back and proved again."""

import pytest

from app.engine import fuse_checkpoint
from app.options import FuseOptions
from tests.engine.formats.pt2.exporting import MODELS, call, load, save, tensors_in


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize("model", MODELS)
def test_a_program_is_fused_and_proved(tmp_path, model, decomposed):
    build, args, kwargs, shapes = MODELS[model]
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    exported = save(build(), args(), source, kwargs=kwargs(), shapes=shapes, decomposed=decomposed)

    report = fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert report.equivalence is not None
    assert report.equivalence.identity.relative < 1e-11
    given = args(), kwargs()
    found, expected = (call(program, *given[0], **given[1]) for program in (load(target), exported))
    for one, other in zip(tensors_in(found), tensors_in(expected), strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()
