"""Programs with what real models have in them: each is fused where it can be, and goes on computing what it did."""

import warnings

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from app.engine.formats.pt2 import operators_of, write_pt2
from app.engine.fuse.programs import plan_program
from tests.engine.formats.pt2.exporting import call, followed, load, read, targets, tensors_in


def block(channels, out):
    norm = nn.BatchNorm2d(out)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), norm)


class Two(nn.Module):
    """Two blocks, with something between them."""

    def __init__(self, between=lambda y: y):
        super().__init__()
        self.first, self.second = block(3, 4), block(4, 4)
        self.between = between
        self.eval()

    def forward(self, x):
        return self.second(self.between(self.first(x)))


class OfInteger(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = block(3, 4).eval()

    def forward(self, x, count):
        return self.first(x) * count + torch.ones(count)[:1].sum()


class Shared(nn.Module):
    """A convolution that is used twice, and a value that is read twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 4, 1)
        self.eval()

    def forward(self, x):
        y = self.bn(self.conv(x))
        return self.last(self.conv(y)) + self.last(y)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(20, 8), nn.LayerNorm(8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        nn.init.normal_(self.norm.weight)

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)))


class Counting(nn.Module):
    """A buffer that is a running mean of what went through."""

    def __init__(self):
        super().__init__()
        self.first = block(3, 4).eval()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        y = self.first(x)
        self.mean.mul_(0.9).add_(y.mean((0, 2, 3)) * 0.1)
        return y + self.mean.view(1, 4, 1, 1)


class Doubling(nn.Module):
    """Writes into its input before the convolution reads it, and again behind it."""

    def __init__(self):
        super().__init__()
        self.first = block(3, 4).eval()

    def forward(self, x):
        x.mul_(2)
        y = self.first(x)
        x.add_(1)
        return y + x.sum()


class Norms(nn.Module):
    """Input normalisation with constants in the code, and norms of every kind."""

    def __init__(self):
        super().__init__()
        self.conv, self.group, self.instance = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)
        self.rms, self.linear = nn.RMSNorm(8), nn.Linear(8, 4)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        nn.init.uniform_(self.rms.weight)
        self.eval()

    def forward(self, x):
        x = (x - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
        y = self.instance(self.group(self.conv(x))).permute(0, 2, 3, 1)
        return self.spectral(self.linear(self.rms(y)))


class Masked(nn.Module):
    """A mask that is filled in part by part, and a stretch of another dtype."""

    def __init__(self):
        super().__init__()
        self.first = block(3, 4).eval()

    def forward(self, x):
        mask = x.new_zeros(8, 8)
        for number, rows in enumerate((slice(0, 3), slice(3, 8))):
            mask[rows, 2:] = number + 1
        y = self.first(x) + mask
        return (y.half() * 2).float() + y


def branch(y):
    return torch.cond(y.sum() > 0, lambda t: t.sin(), lambda t: t.cos(), (y,))


@torch.library.custom_op("fusebox_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


X = torch.randn(2, 3, 8, 8)
TOKENS = torch.arange(10).reshape(2, 5)
# name -> module, arguments, dynamic shapes, whether there is something to fuse
PROGRAMS = {
    "plain": (Two, (X,), {"x": {0: Dim("batch")}}, True),
    "integer input": (OfInteger, (X, 5), {"x": None, "count": Dim.DYNAMIC}, True),
    "branch": (lambda: Two(branch), (X,), None, True),
    "custom operator": (lambda: Two(lambda y: torch.ops.fusebox_tests.twice(y) + y), (X,), None, True),
    "fourier": (lambda: Two(lambda y: torch.fft.irfft2(torch.fft.rfft2(y))), (X,), None, True),
    "shared": (Shared, (X,), None, False),
    "tied": (Tied, (TOKENS,), {"tokens": {0: Dim("batch"), 1: Dim("length")}}, False),
    "changing buffer": (Counting, (X,), None, True),
    "changing input": (Doubling, (X,), None, True),
    "norms": (Norms, (X,), {"x": {0: Dim("batch")}}, True),
    "mask": (Masked, (X,), None, True),
}


def copied(args):
    return pytree.tree_map(lambda part: part.clone() if isinstance(part, torch.Tensor) else part, args)


def exported(module, args, shapes, decomposed, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, copied(args), dynamic_shapes=shapes, **options)
        program = program.run_decompositions() if decomposed else program
        torch.export.save(program, path)
    return program


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fused_program_computes_what_it_did(tmp_path, name, decomposed):
    build, args, shapes, shrinks = PROGRAMS[name]
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    before = exported(build(), args, shapes, decomposed, source)
    file = read(source)
    program = followed(file, *args)

    write_pt2(file, program, plan_program(program, operators_of).graph, target)

    after, again = load(target), read(target)
    assert (len(targets(again)) < len(targets(file))) == shrinks or name in ("shared", "tied")
    assert followed(again, *args).outputs == program.outputs
    for one, other in zip(tensors_in(call(after, *copied(args))), tensors_in(call(before, *copied(args))), strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize("strict", [False, True])
def test_submodules_with_a_kept_signature_can_still_be_taken_apart(tmp_path, strict, decomposed):
    source, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    options = {"preserve_module_call_signature": ("first", "second"), "strict": strict}
    before = exported(Two(torch.relu), (X,), None, decomposed, source, **options)
    file = read(source)
    program = followed(file, X)

    write_pt2(file, program, plan_program(program, operators_of).graph, target)

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        apart = torch.export.unflatten(load(target))
        assert (apart(X) - call(before, X)).abs().max() <= 1e-4
    assert not [one for one in targets(read(target)) if "batch_norm" in one]


def test_a_weight_that_is_rounded_on_its_way_is_left_alone(tmp_path):
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            weight, bias = self.conv.weight.bfloat16(), self.conv.bias.bfloat16()
            return nn.functional.conv2d(x.bfloat16(), weight, bias) * 2

    path = tmp_path / "source.pt2"
    exported(Cast(), (X,), None, True, path)

    program = followed(read(path), X)

    assert [node.operation.__class__.__name__ for node in program.graph.nodes] == ["Apply", "Apply", "Scale"]
