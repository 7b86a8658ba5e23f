"""Following exported programs: the graph computes what the module computes, in the vocabulary where it is linear."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from app.engine.forward.aten import ports
from app.engine.interpret.numeric import run
from app.engine.ir import graph as ir
from tests.engine.formats.pt2.exporting import MODELS, followed, kinds, read, save, tensors_in

EPS = {torch.float32: 2.0**-24, torch.float64: 2.0**-53, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def follow_saved(tmp_path, module, args, **options):
    path = tmp_path / "net.pt2"
    save(module, args, path, **options)
    return followed(read(path), *args, **(options.get("kwargs") or {}))


def assert_same(found, expected, dtype, depth):
    """Equal but for roundings of `dtype`, of which there are as many as operators one after the other."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = other.double().abs().max() if other.numel() else 1
        assert (one.double() - other.double()).abs().max() <= 8 * depth * EPS[dtype] * scale


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize("model", MODELS)
def test_the_graph_computes_what_the_module_computes(tmp_path, model, decomposed):
    build, args, kwargs, shapes = MODELS[model]
    module, given, named = build(), args(), kwargs()
    program = follow_saved(tmp_path, module, given, kwargs=named, shapes=shapes, decomposed=decomposed)
    assert program.skipped == ()

    inputs = tensors_in((given, named))
    single = run(program.graph, inputs, torch.float32)[0]
    double = run(program.graph, inputs, torch.float64)[0]

    expected = [one for one in tensors_in(module(*given, **named)) if one.shape != (3,)]
    depth = len(program.graph.nodes)
    assert_same(single, expected, torch.float32, depth)
    wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]
    module.double()
    if hasattr(module, "constant"):
        module.constant = module.constant.double()
    if hasattr(module, "offset"):
        module.offset = module.offset.double()
    nest = torch.utils._pytree.tree_structure((given, named))
    args64, named64 = torch.utils._pytree.tree_unflatten(_merged((given, named), wide), nest)
    expected = [one for one in tensors_in(module(*args64, **named64)) if one.shape != (3,)]
    assert_same(double, expected, torch.float64, depth)


def _merged(nest, tensors):
    found = iter(tensors)
    leaves = torch.utils._pytree.tree_leaves(nest)
    return [next(found) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
def test_a_model_in_half_precision_runs_as_its_file_says(tmp_path, dtype, decomposed):
    build, args, _, _ = MODELS["up and down"]
    module, (x,) = build().to(dtype), args()
    program = follow_saved(tmp_path, module, (x.to(dtype),), decomposed=decomposed)

    found = run(program.graph, [x.to(dtype)], None)[0]

    assert {one.dtype for one in found} == {dtype}
    assert_same(found, list(module(x.to(dtype))), dtype, len(program.graph.nodes))


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
def test_ports_tell_names_dtypes_and_sizes_that_may_differ(tmp_path, decomposed):
    path = tmp_path / "net.pt2"

    class Net(nn.Module):
        def forward(self, image, pair):
            return image.flatten(1).sum(1) + pair[0].sum() + pair[1].sum()

    args = (torch.randn(4, 3, 8), [torch.zeros(8, dtype=torch.int64), torch.ones(1)])
    batch = Dim("batch")
    shapes = {"image": {0: batch}, "pair": [{0: 2 * batch}, None]}
    save(Net(), args, path, shapes=shapes, decomposed=decomposed)

    first, second, third = ports(read(path))

    symbol = first.dims[0]
    assert (first.name, first.dtype, first.dims) == ("image", torch.float32, (symbol, 3, 8))
    assert isinstance(symbol, str)
    assert (second.name, second.dtype, second.dims) == ("pair_0", torch.int64, (f"2*{symbol}",))
    assert third.dims == (1,)


# --- the vocabulary -------------------------------------------------------------------------------------------------


class Of(nn.Module):
    """A function as a module, with tensors as buffers."""

    def __init__(self, function, **tensors):
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, *args):
        return self.function(self, *args)


C = torch.tensor([1.0, -2.0, 0.5, 3.0])
X = (2, 4, 6, 5)
READINGS = {
    "plus a channel's number": (lambda s, x: x + s.c.view(4, 1, 1), ["Shift"]),
    "a number minus": (lambda s, x: 1 - x, ["Scale", "Shift"]),
    "minus a channel's number": (lambda s, x: x - s.c.view(1, 4, 1, 1), ["Shift"]),
    "over a channel's number": (lambda s, x: x / s.c.view(4, 1, 1), ["Scale"]),
    "by arithmetic on constants": (lambda s, x: x * torch.sqrt(s.c * s.c + 1e-5).view(4, 1, 1), ["Scale"]),
    "with a factor": (lambda s, x: torch.add(x, s.c.view(4, 1, 1), alpha=3), ["Shift"]),
    "of two with a factor": (lambda s, x: torch.sub(x, x, alpha=3), ["Scale", "Add"]),
    "negated": (lambda s, x: -x, ["Scale"]),
    "by one number": (lambda s, x: 3 * x, ["Scale"]),
    "by two dimensions": (lambda s, x: x * s.c.view(4, 1, 1) * torch.ones(6, 5), ["Scale", "mul"]),
    "enlarged": (lambda s, x: x[:, :1] + s.c.view(4, 1, 1), ["Take", "add"]),
    "rounded quotient": (lambda s, x: torch.div(x, 2, rounding_mode="floor"), ["div"]),
    "parts": (lambda s, x: torch.cat(x.split([1, 3], 1)[::-1], 1), ["Take", "Take", "Concat"]),
    "halves": (lambda s, x: x.chunk(3, 1)[1], ["Take"]),
    "every other": (lambda s, x: x[:, ::2], ["Take"]),
    "chosen": (lambda s, x: x.index_select(1, s.i), ["Take"]),
    "narrow": (lambda s, x: x.narrow(1, 1, 2), ["Take"]),
    "all of it": (lambda s, x: x[:, :] * 2, ["Scale"]),
    "zeros around": (lambda s, x: nn.functional.pad(x, (1, 2, 0, 3)), ["Pad"]),
    "cut away": (lambda s, x: nn.functional.pad(x, (-1, 2)), ["pad"]),
    "ones around": (lambda s, x: nn.functional.pad(x, (1, 1), value=1.0), ["pad"]),
    "channels of zeros": (lambda s, x: nn.functional.pad(x, (0, 0, 0, 0, 1, 1)), ["pad"]),
    "pooled": (lambda s, x: nn.functional.avg_pool2d(x, 2, 1, 1), ["AvgPool"]),
    "pooled otherwise": (lambda s, x: nn.functional.avg_pool2d(x, 2, divisor_override=3), ["avg_pool2d"]),
    "product from the right": (lambda s, x: x.movedim(1, -1) @ s.m, ["movedim", "Linear"]),
    "product from the left": (lambda s, x: s.m @ x.transpose(2, 3), ["transpose", "matmul"]),
    "nothing": (lambda s, x: nn.functional.dropout(x.contiguous().detach().clone().float(), 0.5, False) * 2, ["Scale"]),
}


@pytest.mark.parametrize("case", READINGS)
def test_linear_operators_are_read_as_such(tmp_path, case):
    function, expected = READINGS[case]
    module, x = Of(function, c=C, m=torch.randn(4, 5), i=torch.tensor([3, 0])), torch.randn(X)

    program = follow_saved(tmp_path, module, (x,))

    assert kinds(program) == expected
    assert_same(run(program.graph, [x], torch.float32)[0], [module(x)], torch.float32, 4)


def test_constants_are_computed_in_the_dtype_that_is_asked_for(tmp_path):
    module, x = Of(lambda s, x: x * torch.sqrt(s.c + 1e-5), c=C.abs()), torch.randn(3, 4)

    program = follow_saved(tmp_path, module, (x,))

    (scale,) = [node.operation for node in program.graph.nodes]
    exact = (C.abs().double() + 1e-5).sqrt()
    assert torch.equal(scale.factor.value(torch.float64).reshape(-1), exact)


def test_a_norm_over_the_last_dimension_is_a_function_and_an_affine_map(tmp_path):
    module = nn.LayerNorm(4)
    nn.init.normal_(module.weight)
    program = follow_saved(tmp_path, module, (torch.randn(2, 3, 4),))

    assert kinds(program) == ["layer_norm", "Scale", "Shift"]
    assert program.partial == {"layer_norm"}
    assert {node.owner for node in program.graph.nodes} == {"layer_norm"}


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
def test_what_depends_on_a_size_that_may_differ_is_no_weight(tmp_path, decomposed):
    module, x = Of(lambda s, x: x * x.shape[0]), torch.randn(3, 4)

    program = follow_saved(tmp_path, module, (x,), shapes={"args": ({0: Dim("batch")},)}, decomposed=decomposed)

    (node,) = program.graph.nodes
    assert isinstance(node.operation, ir.Scale)
    assert node.operation.factor.varies


def test_part_of_a_dimension_that_may_differ_is_no_choice_of_channels(tmp_path):
    module, x = Of(lambda s, x: x[:, 1:]), torch.randn(3, 7)

    program = follow_saved(tmp_path, module, (x,), shapes={"args": ({1: Dim("length", min=4)},)})

    assert kinds(program) == ["slice"]


# --- what is skipped ------------------------------------------------------------------------------------------------


def test_an_operator_that_is_not_read_cuts_the_graph_in_two(tmp_path):
    module, x = Of(lambda s, x: torch.bernoulli((x * 2).sigmoid()) * 3), torch.randn(3, 4)

    program = follow_saved(tmp_path, module, (x,))

    assert [(one.path, one.code) for one in program.skipped] == [("bernoulli", "random")]
    assert kinds(program) == ["Scale", "sigmoid", "Scale"]
    assert len(program.graph.inputs) == 2
    assert program.graph.inputs[1].shape == (3, 4)
    outputs, taken = program.graph.outputs
    assert len(outputs) == 1
    assert taken == [program.graph.nodes[1].output]


def test_shapes_that_depend_on_values_are_skipped(tmp_path):
    module, x = Of(lambda s, x: (x * 2)[x > 0].sum() + x.sum()), torch.randn(3, 4)

    program = follow_saved(tmp_path, module, (x,))

    assert program.skipped[0].code == "size-of-values"
    assert program.outputs == ("add",)


def test_a_batch_norm_in_training_mode_is_no_affine_map_and_its_statistics_are_no_constants(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    x = torch.randn(2, 3, 5, 5)
    expected = module(x)

    written = follow_saved(tmp_path, module, (x,))
    decomposed = follow_saved(tmp_path, module, (x,), decomposed=True)

    assert kinds(written) == ["Conv", "add", "batch norm by the batch"]
    assert_same(
        run(written.graph, [x, torch.tensor(0)] + [torch.zeros(4)] * 2, torch.float32)[0], [expected], torch.float32, 4
    )
    assert not any(isinstance(node.operation, ir.BatchNorm) for node in decomposed.graph.nodes)
    assert len(decomposed.graph.inputs) == 4
    assert len(decomposed.graph.outputs[1]) == 3


def test_a_value_that_is_changed_in_place_while_a_view_of_it_is_read_later_is_skipped(tmp_path):
    def function(s, x):
        y = x * 2
        view = y[0]
        y.add_(1)
        return view + y

    program = follow_saved(tmp_path, Of(function), (torch.randn(3, 4),))

    assert [one.code for one in program.skipped] == ["changes-in-place"]


def test_a_buffer_that_is_changed_in_place_is_given_and_taken(tmp_path):
    def function(s, x):
        s.c.add_(1)
        return x * s.c

    program = follow_saved(tmp_path, Of(function, c=C.clone()), (torch.randn(3, 4),))

    assert program.skipped == ()
    assert len(program.graph.inputs) == 2
    assert [value.shape for value in program.graph.outputs[1]] == [(4,)]


def test_a_copy_is_not_its_original_where_that_is_written_to(tmp_path):
    def function(s, x):
        y = x * 2
        copy = y.clone()
        y.relu_()
        return copy + y

    module, x = Of(function), torch.randn(3, 4)
    program = follow_saved(tmp_path, module, (x,))

    assert_same(run(program.graph, [x], torch.float32)[0], [module(x)], torch.float32, 4)
