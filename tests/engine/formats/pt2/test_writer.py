"""Writing .pt2 archives: what is written loads in torch, computes the same, and keeps its face."""

import warnings

import pytest
import torch
from torch import nn
from torch.export import Dim

from app.engine.formats.pt2 import operators_of, write_pt2
from app.engine.fuse.programs import plan_program
from app.engine.interpret.numeric import run
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value
from tests.engine.formats.pt2.exporting import (
    MODELS,
    call,
    followed,
    kinds,
    load,
    pickle_tensors,
    read,
    rewrite_records,
    save,
    targets,
    tensors_in,
)


class Case:
    """A model saved, read and followed; `write` gives what torch loads of it."""

    def __init__(self, tmp_path, module, args, **options):
        self.source, self.target = tmp_path / "source.pt2", tmp_path / "target.pt2"
        self.args, self.kwargs = args, options.get("kwargs") or {}
        self.exported = save(module, args, self.source, **options)
        self.file = read(self.source)
        self.program = followed(self.file, *args, **self.kwargs)

    def write(self, graph):
        write_pt2(self.file, self.program, graph, self.target)
        return load(self.target)

    def nodes(self):
        return list(self.program.graph.nodes)

    def with_nodes(self, nodes):
        return ir.live(Graph(self.program.graph.inputs, tuple(nodes), self.program.graph.outputs))


@pytest.fixture(params=[False, True], ids=["as written", "decomposed"])
def case(request, tmp_path):
    return lambda module, args, **options: Case(tmp_path, module, args, decomposed=request.param, **options)


def close(found, expected, tolerance=1e-4):
    for one, other in zip(tensors_in(found), tensors_in(expected), strict=True):
        assert one.dtype == other.dtype
        assert (one.double() - other.double()).abs().max() <= tolerance * other.double().abs().max()


def literal(tensor, *paths):
    return Const((), paths, tuple(tensor.shape), None, tensor)


@pytest.mark.parametrize("model", MODELS)
def test_the_unchanged_graph_gives_the_same_program(case, model):
    build, args, kwargs, shapes = MODELS[model]
    made = case(build(), args(), kwargs=kwargs(), shapes=shapes)

    written = made.write(made.program.graph)

    assert str(written.graph_signature) == str(made.exported.graph_signature)
    assert str(written.range_constraints) == str(made.exported.range_constraints)
    assert [str(node.target) for node in written.graph.nodes] == [str(n.target) for n in load(made.source).graph.nodes]
    for one, other in zip(
        tensors_in(call(written, *made.args, **made.kwargs)),
        tensors_in(call(made.exported, *made.args, **made.kwargs)),
        strict=True,
    ):
        assert torch.equal(one, other)
    examples = zip(tensors_in(written.example_inputs), tensors_in(made.exported.example_inputs), strict=True)
    assert all(torch.equal(one, other) for one, other in examples)


@pytest.mark.parametrize("model", MODELS)
def test_a_fused_program_loads_runs_and_can_be_saved_again(case, model, tmp_path):
    build, args, kwargs, shapes = MODELS[model]
    made = case(build(), args(), kwargs=kwargs(), shapes=shapes)

    written = made.write(plan_program(made.program, operators_of).graph)

    again = read(made.target)
    assert followed(again, *made.args, **made.kwargs).outputs == made.program.outputs
    assert str(written.range_constraints) == str(made.exported.range_constraints)
    assert str(written.call_spec) == str(made.exported.call_spec)
    assert [s.arg.name for s in written.graph_signature.output_specs] == [
        s.arg.name for s in made.exported.graph_signature.output_specs
    ]
    close(call(written, *made.args, **made.kwargs), call(made.exported, *made.args, **made.kwargs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(written, tmp_path / "again.pt2")
    close(call(load(tmp_path / "again.pt2"), *made.args, **made.kwargs), call(written, *made.args, **made.kwargs))


def test_sizes_that_may_differ_still_may(case):
    build, args, _, shapes = MODELS["convnet, any size"]
    made = case(build(), args(), shapes=shapes)

    written = made.write(plan_program(made.program, operators_of).graph)

    for other in (torch.randn(5, 3, 33, 8), torch.randn(1, 3, 40, 21)):
        close(call(written, other), call(made.exported, other))


def test_a_fused_convolution_takes_the_name_of_the_weight_and_a_bias_beside_it(case):
    build, args, _, shapes = MODELS["convnet"]
    made = case(build(), args(), shapes=shapes)

    written = made.write(plan_program(made.program, operators_of).graph)

    assert set(written.state_dict) == {
        *("conv.weight", "conv.bias", "next.weight", "next.bias", "head.weight", "head.bias")
    }
    assert isinstance(written.state_dict["conv.weight"], nn.Parameter)
    assert written.state_dict["conv.weight"].requires_grad
    untouched = made.file.stored["head.weight"].read()
    assert torch.equal(written.state_dict["head.weight"], untouched)


def test_the_same_graph_gives_the_same_bytes(case):
    build, args, _, shapes = MODELS["convnet"]
    made = case(build(), args(), shapes=shapes)
    graph = plan_program(made.program, operators_of).graph

    made.write(graph)
    first = made.target.read_bytes()
    made.write(graph)

    assert made.target.read_bytes() == first


def test_a_weight_that_something_else_reads_keeps_its_name_and_the_new_one_gets_another(case):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3))

        def forward(self, x):
            return nn.functional.linear(x, self.weight), (self.weight * x.sum()).sum()

    made = case(Net(), (torch.randn(2, 3),))
    nodes = made.nodes()
    index = next(index for index, node in enumerate(nodes) if isinstance(node.operation, ir.Linear))
    old = nodes[index]
    nodes[index] = Node(
        ir.Linear(literal(torch.ones(4, 3), "weight"), literal(torch.ones(4))), old.inputs, old.output, old.owner, None
    )

    written = made.write(made.with_nodes(nodes))

    assert set(written.state_dict) == {"weight", "weight_1", "bias"}
    first, second = call(written, *made.args)
    assert torch.allclose(first, made.args[0].sum(1, keepdim=True) + 1, atol=1e-5)
    close(second, call(made.exported, *made.args)[1])


# --- each operation -------------------------------------------------------------------------------------------------

X = torch.randn(2, 4, 7, 6)
_ROW = torch.tensor([1.0, 2.0, -1.0, 0.5])


def _conv(weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), groups=1, transposed=False, output_padding=()):
    return ir.Conv(literal(weight), bias, stride, padding, (1, 1), groups, "zeros", transposed, output_padding)


OPERATIONS = {
    "convolution": lambda: _conv(torch.randn(5, 4, 3, 3), literal(torch.randn(5)), (2, 1), ((1, 1), (0, 0))),
    "grouped": lambda: _conv(torch.randn(8, 2, 1, 1), groups=2),
    "uneven": lambda: _conv(torch.randn(5, 4, 3, 3), None, (1, 1), ((1, 2), (0, 1))),
    "transposed": lambda: _conv(
        torch.randn(4, 3, 3, 3), literal(torch.randn(3)), (2, 2), ((1, 1), (1, 1)), 1, True, (1, 0)
    ),
    "linear": lambda: ir.Linear(literal(torch.randn(3, 6)), literal(torch.randn(3))),
    "linear without bias": lambda: ir.Linear(literal(torch.randn(3, 6)), None),
    "scale": lambda: ir.Scale(literal(_ROW), 1),
    "scale by one number": lambda: ir.Scale(literal(torch.tensor(0.1)), 1),
    "shift": lambda: ir.Shift(literal(_ROW), 1),
    "shift at the end": lambda: ir.Shift(literal(torch.randn(6)), 3),
    "batch norm": lambda: ir.BatchNorm(
        literal(torch.randn(4)), literal(torch.rand(4)), literal(_ROW), literal(torch.randn(4)), 1e-3
    ),
    "batch norm without factors": lambda: ir.BatchNorm(
        literal(torch.randn(4)), literal(torch.rand(4)), None, None, 0.1
    ),
    "pad": lambda: ir.Pad(((1, 0), (2, 3))),
    "sum": lambda: ir.Add(),
    "concatenation": lambda: ir.Concat(1),
    "pool": lambda: ir.AvgPool((2, 3), (1, 2), (1, 0), True, False),
    "slice": lambda: ir.Take((1, 2)),
    "choice": lambda: ir.Take((3, 0, 0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_every_operation_is_written_as_what_it_computes(case, name, dynamic):
    class Net(nn.Module):
        def forward(self, x):
            return (-x).relu()

    shapes = {"x": {0: Dim("batch"), 2: Dim("height", min=4)}} if dynamic else None
    made = case(Net(), (X,), shapes=shapes)
    operation = OPERATIONS[name]()
    old = made.nodes()[0]
    count = 2 if isinstance(operation, (ir.Add, ir.Concat)) else 1
    node = Node(operation, old.inputs * count, old.output, old.owner, None)
    graph = Graph(made.program.graph.inputs, (node, made.nodes()[1]), made.program.graph.outputs)

    write_pt2(made.file, made.program, graph, made.target)

    given = torch.randn(3, 4, 9, 6) if dynamic else X
    found = followed(read(made.target), X)
    assert len(targets(read(made.target))) - len(targets(made.file)) <= operators_of(operation, 4)
    expected = run(Graph(graph.inputs, graph.nodes, graph.outputs), [given], torch.float32)[0]
    close(run(found.graph, [given], torch.float32)[0], expected)
    assert found.skipped == ()
    _check_loads(made, name, given, expected)


def _check_loads(made, name, given, expected):
    """The description of `relu` is of the old shape here, which torch does not look at when it runs."""
    close(call(load(made.target), given), expected[0])


def test_a_norm_without_its_factor_and_offset_is_written_as_a_normalisation(case):
    module = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))
    nn.init.normal_(module[0].weight)
    nn.init.normal_(module[0].bias)
    made = case(module, (torch.randn(5, 4),))

    written = made.write(plan_program(made.program, operators_of).graph)

    assert set(written.state_dict) == {"1.weight", "1.bias"}
    assert [kind for kind in kinds(followed(read(made.target), *made.args)) if kind in ("Scale", "Shift")] == []
    close(call(written, *made.args), call(made.exported, *made.args))


def test_a_norm_of_which_only_the_offset_stays_keeps_it_as_an_operator(case):
    module = nn.LayerNorm(4)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    made = case(module, (torch.randn(5, 4),))
    norm, scale, shift = made.nodes()
    factor = literal(module.weight.detach().clone(), "weight")
    fresh = Node(ir.Scale(factor, 1), scale.inputs, scale.output, scale.owner, None)

    written = made.write(made.with_nodes([norm, fresh, shift]))

    close(call(written, *made.args), call(made.exported, *made.args))


def test_several_steps_in_the_place_of_one_are_written_in_order(case):
    made = case(nn.Conv2d(4, 4, 1), (X,))
    (old,) = made.nodes()
    middle = Value(X.shape)
    first = Node(ir.Scale(literal(_ROW), 1), old.inputs, middle, old.owner, None)
    second = Node(ir.Shift(literal(_ROW), 1), (middle,), old.output, old.owner, None)

    written = made.write(made.with_nodes([first, second]))

    row = _ROW.view(4, 1, 1)
    close(call(written, X), X * row + row)
    assert [one.rpartition(".")[0] for one in targets(read(made.target))] == ["mul", "add"]


# --- what must not move ---------------------------------------------------------------------------------------------


def test_a_region_reads_its_input_before_that_is_written_to(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = x * 2
            z = self.conv(y)
            y.relu_()
            return self.bn(z), y

    module = Net().eval()
    module.bn.running_mean.normal_()
    made = Case(tmp_path, module, (torch.randn(2, 3, 5, 5),))

    written = made.write(plan_program(made.program, operators_of).graph)

    assert "batch_norm.default" not in targets(read(made.target))
    close(call(written, *made.args), call(made.exported, *made.args))


def test_a_batch_norm_in_training_mode_goes_on_counting(case):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).train()
    made = case(module, (torch.randn(4, 3, 5, 5),))

    written = made.write(plan_program(made.program, operators_of).graph)

    ours, theirs = written.module(), made.exported.module()
    with torch.no_grad():
        close(ours(*made.args), theirs(*made.args))
    for name, buffer in theirs.named_buffers():
        assert torch.equal(dict(ours.named_buffers())[name], buffer)
    assert int(dict(ours.named_buffers())["1.num_batches_tracked"]) == 1


def test_dropout_at_rest_goes_and_what_reads_it_reads_its_input(case):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(), nn.Dropout()).eval()
    made = case(module, (torch.randn(4, 3, 5, 5),))

    made.write(plan_program(made.program, operators_of).graph)

    left = [one.partition(".")[0] for one in targets(read(made.target))]
    assert left[1:] in (["relu", "dropout"], ["relu", "clone"])


def test_an_operator_that_is_not_read_stays_and_what_lies_around_it_is_fused(case):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.before = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
            self.after = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x):
            return self.after(torch.bernoulli(self.before(x).sigmoid()))

    made = case(Net().eval(), (torch.randn(2, 3, 5, 5),))

    written = made.write(plan_program(made.program, operators_of).graph)

    left = [one.partition(".")[0] for one in targets(read(made.target))]
    assert left[1] == "sigmoid"
    assert {"bernoulli", "rand"} & set(left)
    assert not [one for one in left if "batch_norm" in one]
    torch.manual_seed(1)
    expected = call(made.exported, *made.args)
    torch.manual_seed(1)
    close(call(written, *made.args), expected)


@pytest.mark.parametrize("model", ["convnet", "nested", "transformer"])
def test_a_program_in_the_layout_of_an_older_version_is_written_in_it(tmp_path, model):
    build, args, kwargs, shapes = MODELS[model]
    path, target = tmp_path / "source.pt2", tmp_path / "target.pt2"
    exported = save(build(), args(), path, kwargs=kwargs(), shapes=shapes)
    pickle_tensors(path, exported)
    file = read(path)
    program = followed(file, *args(), **kwargs())

    for graph in (program.graph, plan_program(program, operators_of).graph):
        write_pt2(file, program, graph, target)

        again = read(target)
        assert set(again.pickled) == {"data/weights/", "data/constants/"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source.pt2", "target.pt2"]
        given = args(), kwargs()
        close(call(load(target), *given[0], **given[1]), call(exported, *given[0], **given[1]))
    named = {spec.target for spec in again.inputs if spec.target in file.payloads}
    assert named <= set(load(target).state_dict) | set(load(target).constants)


def test_other_files_in_the_archive_are_kept(tmp_path):
    made = Case(tmp_path, nn.Linear(3, 3), (torch.randn(2, 3),), extra={"classes.txt": "cat dog"})

    written_extra = {"classes.txt": ""}
    write_pt2(made.file, made.program, made.program.graph, made.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.load(made.target, extra_files=written_extra)

    assert written_extra == {"classes.txt": "cat dog"}


def test_a_program_without_example_inputs_is_written(tmp_path):
    made = Case(tmp_path, nn.Linear(3, 3), (torch.randn(2, 3),))
    rewrite_records(made.source, lambda records: records.update({"source/data/sample_inputs/model.pt": b""}))
    file = read(made.source)
    program = followed(file, *made.args)

    write_pt2(file, program, program.graph, made.target)

    close(call(load(made.target), *made.args), call(made.exported, *made.args))


def test_names_of_two_weights_with_one_storage_stay_tied(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    made = Case(tmp_path, module, (torch.randn(2, 4),))

    written = made.write(made.program.graph)

    weights = [tensor.data_ptr() for name, tensor in written.state_dict.items() if name.endswith("weight")]
    assert len(set(weights)) == 1
