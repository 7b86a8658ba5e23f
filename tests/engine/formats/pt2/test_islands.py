"""Graphs within the graph, and what is computed in vain: nothing of it stands in the way of what lies around it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.export import Dim

from app.engine import fuse_checkpoint
from app.options import FuseOptions
from tests.engine.formats.pt2.exporting import call, load, read, save, targets, tensors_in

X = torch.randn(2, 3, 8, 7)


def block(channels, out):
    norm = nn.BatchNorm2d(out)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), norm)


class Around(nn.Module):
    """A block, what is in the middle, and a block."""

    def __init__(self, middle):
        super().__init__()
        self.first, self.inner, self.last = block(3, 4), block(4, 4), block(4, 4)
        self.middle = middle
        self.eval()

    def forward(self, x):
        return self.last(self.middle(self, self.first(x)))


def chosen(net, y):
    return torch.cond(y.sum() > 0, lambda t: net.inner(t), lambda t: t * 2, (y,))


def chosen_by_size(net, y):
    return torch.cond(y.shape[0] > 4, lambda t: t.cos(), lambda t: t.sin(), (y,))


def repeated(net, y):
    return while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 0.5 + 1), (torch.tensor(0), y))[1]


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize(
    ("middle", "shapes"), [(chosen, None), (chosen_by_size, {"x": {0: Dim.AUTO}}), (repeated, None)]
)
def test_before_and_behind_an_operator_with_graphs_of_its_own_is_fused(tmp_path, middle, shapes, decomposed):
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    before = save(Around(middle), (X,), source, shapes=shapes, decomposed=decomposed)

    report = fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert [one.code for one in report.refused] == ["operator-not-read"]
    assert not [one for one in targets(read(target)) if "batch_norm" in one]
    found, expected = (call(program, X) for program in (load(target), before))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def unread_norm(net, y):
    """A norm of which nobody reads the result, over a dimension that may differ, and sizes of it."""
    z = F.batch_norm(y.transpose(1, 2), torch.zeros(8), torch.ones(8))
    _ = z + torch.arange(z.shape[-1])
    return y


def written_in_vain(net, y):
    """A write into a copy that nobody reads, of a value in the midst of what is fused."""
    z = F.pad(net.inner(y), (0, 0, 0, 0))
    (z * torch.ones_like(z)).relu_()
    return z


@pytest.mark.parametrize("middle", [unread_norm, written_in_vain])
@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
def test_what_is_computed_in_vain_does_not_stay_nor_cost_anything(tmp_path, middle, decomposed):
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    before = save(Around(middle), (X,), source, shapes={"x": {0: Dim.AUTO}}, decomposed=decomposed)

    report = fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert report.summary.batch_norms_after == 0
    assert report.summary.operators_after < report.summary.operators_before
    (found,), (expected,) = (tensors_in(call(program, X)) for program in (load(target), before))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_affine_part_of_a_norm_is_not_taken_apart_for_nothing(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(7)
            nn.init.normal_(self.norm.weight)
            nn.init.normal_(self.norm.bias)

        def forward(self, x):
            return (self.norm(x) * 3).relu()

    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    save(Scaled(), (X,), source)

    fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert targets(read(target)) == ["layer_norm.default", "mul.Tensor", "relu.default"]


def test_numbers_in_the_models_code_have_the_noise_of_its_dtype(tmp_path):
    class Shifted(nn.Module):
        def forward(self, x):
            return (x + torch.arange(7) * 0.1) + 0.7

    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    save(Shifted(), (X,), source)

    report = fuse_checkpoint(source, target, FuseOptions(), filename="source.pt2")

    assert report.summary.layers_replaced == 1
    assert 1e-9 < report.equivalence.stored.noise < 1e-7
