"""Constants, liveness and readers of the small SSA form."""

import torch

from app.engine.forward.vocabulary import expression, literal
from app.engine.ir.graph import Value, leaves, live, readers
from tests.engine.interpret.drawn_graphs import Builder, stored


def test_nodes_that_no_output_reads_are_dead():
    b = Builder()
    x = Value((2, 4, 9, 7))
    kept = b.conv(x, 4)
    b.norm(b.scale(kept))
    graph = live(b.graph(x, kept))
    assert [node.output for node in graph.nodes] == [kept]


def test_readers_count_outputs_and_repeated_inputs():
    b = Builder()
    x = Value((2, 4, 9, 7))
    y = b.conv(x, 4)
    graph = b.graph(x, [b.ops.add(y, y), {"y": y}])
    counts = readers(graph)
    assert counts[id(y)] == 3
    assert counts[id(x)] == 1
    assert graph.output_values()[1] is y
    assert list(leaves([1, "a", (x, None)])) == [x]


def test_constants_are_evaluated_in_the_dtype_that_is_asked_for():
    a, b = stored("a", torch.tensor([1.0, 2.0]).half()), stored("b", torch.tensor([3.0, 4.0]))
    product = expression(torch.mul, a, b)
    assert (product.shape, product.paths) == ((2,), ("a", "b"))
    assert product.value(torch.float64).tolist() == [3.0, 8.0]
    assert product.value(torch.float64).dtype == torch.float64
    assert stored("i", torch.tensor([1, 2])).value(torch.float16).dtype == torch.int64
    grid = literal(torch.ones(2))
    assert grid.value(torch.bfloat16).dtype == torch.bfloat16
    assert (a.stored_dtype, grid.stored_dtype) == (torch.float16, torch.float32)


def test_a_node_lists_the_constants_it_reads():
    b = Builder()
    x = Value((2, 4, 9, 7))
    b.norm(b.conv(x, 4, bias=False))
    weight = stored("w", torch.randn(4))
    b.ops.pointwise("prelu", torch.nn.functional.prelu, x, weight)
    conv, norm, prelu = b.ops.nodes
    assert [len(list(node.consts())) for node in (conv, norm, prelu)] == [1, 4, 1]
