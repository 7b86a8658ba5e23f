"""Graph files: which stretches are replaced, what is written for them, and that the new graph computes the same."""

import pytest
import torch
from hypothesis import given, settings

from app.engine.fuse.programs import ProgramFusion, plan_program
from app.engine.interpret.numeric import run
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph, Value
from app.engine.ir.program import Program
from tests.engine.interpret.drawn_graphs import Builder, graphs, stored

X = Value((2, 4, 9, 7))


def one_each(operation: ir.Operation, rank: int) -> int | None:
    return 1


def program(graph: Graph, partial: frozenset[str] = frozenset()) -> Program:
    return Program(graph, ("x",), tuple(f"y{i}" for i, _ in enumerate(graph.output_values())), {}, partial)


def named(graph: Graph) -> Graph:
    """Every node from an operator of its own."""
    for number, node in enumerate(graph.nodes):
        node.owner = f"operator{number}"
    return graph


def planned(graph: Graph, partial: frozenset[str] = frozenset()) -> ProgramFusion:
    return plan_program(program(named(graph), partial), one_each)


def left(fusion: ProgramFusion) -> list[str]:
    return [type(node.operation).__name__ for node in fusion.graph.nodes]


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_the_new_graph_computes_the_same_with_fewer_operators(graph):
    fusion = planned(graph)
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    before, after = run(graph, [x], torch.float64), run(fusion.graph, [x], torch.float64)
    for old, new in zip(before, after, strict=True):
        assert float((old - new).abs().max()) <= 1e-5 * max(1.0, float(old.abs().max()))
    assert len(fusion.graph.nodes) <= len(graph.nodes)
    assert len(fusion.graph.nodes) < len(graph.nodes) or not fusion.replacements
    assert not planned(fusion.graph).replacements


def test_a_bias_is_written_only_where_there_is_one():
    b = Builder()
    fusion = planned(b.graph(X, b.act(b.scale(b.conv(X, 4, 3, bias=False)))))
    (conv, _) = fusion.graph.nodes
    assert conv.operation.bias is None


def test_arithmetic_that_no_convolution_takes_in_becomes_one_batch_norm():
    b = Builder()
    y = b.scale(b.shift(b.scale(b.shift(b.act(X)))))
    fusion = planned(b.graph(X, b.act(y)))
    assert left(fusion) == ["Apply", "BatchNorm", "Apply"]


def test_scales_in_a_row_become_one():
    b = Builder()
    assert left(planned(b.graph(X, b.act(b.scale(b.scale(b.act(X))))))) == ["Apply", "Scale", "Apply"]
    assert left(planned(b.graph(X, b.act(b.shift(b.shift(b.act(X))))))) == ["Apply", "Shift", "Apply"]


def test_weights_that_another_operator_uses_stay():
    b = Builder()
    y = b.conv(X, 4, 3, bias=False)
    shared = y.node.operation.weight
    z = b.ops.apply("abs", torch.abs, b.ops.apply("times", torch.mul, shared, 2.0))
    fusion = planned(b.graph(X, [b.act(b.norm(y)), z]))
    assert not fusion.replacements
    assert [cut.code for cut in fusion.cuts] == ["weights-shared"]


def test_an_operator_of_several_nodes_goes_as_a_whole_or_not_at_all():
    b = Builder()
    graph = named(b.graph(X, b.act(b.norm(b.conv(b.scale(b.act(X)), 4, 1)))))
    act, scale = graph.nodes[:2]
    scale.owner = act.owner
    whole = plan_program(program(graph), one_each)
    assert [part.before for part in whole.replacements] == [("Conv 1x1", "BatchNorm")]
    partial = plan_program(program(graph, frozenset({act.owner})), one_each)
    assert [part.before for part in partial.replacements] == [("Scale", "Conv 1x1", "BatchNorm")]


def test_what_the_format_has_no_operator_for_is_left_with_its_reason():
    b = Builder()
    graph = named(b.graph(X, b.act(b.norm(b.conv(X, 4, 3)))))
    fusion = plan_program(program(graph), lambda operation, rank: None)
    assert not fusion.replacements
    assert [cut.code for cut in fusion.cuts] == ["no-such-operator"]


def test_two_operators_that_the_format_would_write_as_two_are_not_replaced():
    b = Builder()
    graph = named(b.graph(X, b.act(b.norm(b.conv(X, 4, 3)))))
    assert not plan_program(program(graph), lambda operation, rank: 2).replacements


@pytest.mark.parametrize("axis", [1, 3])
def test_a_lone_affine_map_acts_along_its_own_dimension(axis):
    b = Builder()
    factor, offset = (b._const(X.shape[axis]) for _ in range(2))
    y = b.act(X)
    for _ in range(2):
        y = b.ops.shift(b.ops.scale(y, factor, axis), offset, axis)
    fusion = planned(b.graph(X, b.act(y)))
    x = torch.randn(X.shape, dtype=torch.float64)
    assert len(fusion.replacements) == 1
    torch.testing.assert_close(
        run(fusion.graph, [x], torch.float64), run(fusion.program.graph, [x], torch.float64), rtol=1e-5, atol=1e-5
    )


def same(fusion: ProgramFusion) -> None:
    x = torch.randn(X.shape, dtype=torch.float64)
    before = run(fusion.program.graph, [x], torch.float64)
    for graph in (fusion.basis, fusion.graph):
        torch.testing.assert_close(run(graph, [x], torch.float64), before, rtol=1e-5, atol=1e-5)


def test_a_norm_behind_a_concatenation_of_convolutions_is_shared_out_among_them():
    b = Builder()
    y = b.ops.concat([b.conv(X, 6, 3, padding=1), b.conv(b.act(X), 2, 3, padding=1)])
    fusion = planned(b.graph(X, b.act(b.scale(b.norm(y)))))
    assert sorted(left(fusion)) == ["Apply", "Apply", "Concat", "Conv", "Conv"]
    same(fusion)


def test_a_norm_behind_a_sum_goes_into_both_convolutions():
    b = Builder()
    y = b.ops.add(b.conv(X, 4, 3, padding=1), b.conv(b.act(X), 4, 1))
    fusion = planned(b.graph(X, b.act(b.norm(b.shift(y)))))
    assert sorted(left(fusion)) == ["Add", "Apply", "Apply", "Conv", "Conv"]
    same(fusion)


def test_a_norm_behind_a_sum_stays_if_one_branch_can_not_take_it():
    b = Builder()
    y = b.ops.add(b.conv(X, 4, 3, padding=1), b.act(X))
    fusion = planned(b.graph(X, b.act(b.norm(y))))
    assert fusion.basis is fusion.program.graph
    assert "BatchNorm" in left(fusion)
    same(fusion)


def test_a_map_before_several_convolutions_goes_into_each():
    b = Builder()
    y = b.shift(b.scale(b.act(X)))
    fusion = planned(b.graph(X, [b.act(b.conv(y, 4, 3)), b.act(b.conv(y, 6, 1)), b.act(b.conv(y, 2, 1))]))
    assert sorted(set(left(fusion))) == ["Apply", "Conv"]
    same(fusion)


def test_a_map_before_several_convolutions_stays_if_one_pads_it():
    b = Builder()
    y = b.norm(b.act(X))
    fusion = planned(b.graph(X, [b.act(b.conv(y, 4, 3)), b.act(b.conv(y, 6, 3, padding=1))]))
    assert "BatchNorm" in left(fusion)
    assert {cut.code for cut in fusion.cuts} == {"border-differs"}
    same(fusion)


def head(b: Builder, consts: tuple, x: Value) -> Value:
    """With zeros of its own for the bias that the layer does not have, as some exporters write it."""
    weight, mean, var, gain, offset = consts
    bias = stored(f"zeros{len(b.ops.nodes)}", torch.zeros(4))
    return b.act(b.ops.batch_norm(b.ops.conv(x, weight, bias), mean, var, gain, offset, 1e-3))


def test_a_head_that_is_applied_to_several_levels_is_fused_once_for_all():
    b = Builder()
    consts = (b._const(4, 4, 3, 3), *(stored(name, torch.rand(4) + 0.5) for name in ("mean", "var", "gain", "offset")))
    levels = [b.act(X), b.act(b.conv(X, 4, 1))]
    fusion = planned(b.graph(X, [head(b, consts, level) for level in levels]))
    fused = [node.operation for node in fusion.graph.nodes if isinstance(node.operation, ir.Conv)][-2:]
    assert "BatchNorm" not in left(fusion)
    assert fused[0].weight is fused[1].weight
    same(fusion)


def test_a_head_with_norms_of_its_own_for_each_level_would_need_weights_for_each():
    b = Builder()
    weight = b._const(4, 4, 3, 3)
    levels = [b.act(X), b.act(b.act(X))]
    fusion = planned(b.graph(X, [b.act(b.norm(b.ops.conv(level, weight))) for level in levels]))
    assert left(fusion).count("BatchNorm") == 2
    assert {cut.code for cut in fusion.cuts} == {"weights-shared"}


def test_numbers_that_many_norms_share_keep_none_of_them():
    b = Builder()
    ones, zeros = stored("ones", torch.ones(4)), stored("zeros", torch.zeros(4))
    y = X
    for _ in range(3):
        y = b.act(b.ops.batch_norm(b.conv(y, 4, 1), zeros, b._const(4), ones, zeros, 2.0))
    assert "BatchNorm" not in left(planned(b.graph(X, y)))


def test_a_part_of_an_operator_that_stays_is_no_operator_that_goes():
    """A layer norm keeps its shift rather than cost an addition that was none before."""
    b = Builder()
    x = Value((2, 5, 6))
    y = b.ops.shift(b.ops.scale(b.act(x), b._const(6), 2), b._const(6), 2)
    y = b.ops.linear(y, b._const(9, 6))
    graph = named(b.graph(x, b.act(y)))
    for node in graph.nodes[1:3]:
        node.owner = graph.nodes[0].owner
    partial = program(graph, frozenset({graph.nodes[0].owner}))
    two_with_bias = plan_program(partial, lambda op, rank: 2 if isinstance(op, ir.Linear) and op.bias else 1)
    assert not two_with_bias.replacements
    assert len(plan_program(partial, one_each).replacements) == 1
