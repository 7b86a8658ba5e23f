"""Who wants to know a size may look along what keeps it."""

import torch

from app.engine.ir import graph as ir
from app.engine.ir.alike import Alike
from app.engine.ir.graph import Const, Graph, Node, Value


def literal(*shape):
    return Const((), (), shape, None, torch.ones(shape))


def test_values_along_scales_shifts_norms_and_sums_are_alike():
    x, other = Value((2, 4, 3)), Value((2, 4, 3))
    nodes, values = [], [x]

    def emit(operation, *inputs, shape=(2, 4, 3)):
        values.append(Value(shape))
        nodes.append(Node(operation, inputs, values[-1], "", None))
        values[-1].node = nodes[-1]
        return values[-1]

    conv = emit(ir.Conv(literal(6, 4, 1), None, (1,), ((0, 0),), (1,)), x, shape=(2, 6, 3))
    scaled = emit(ir.Scale(literal(6)), conv, shape=(2, 6, 3))
    summed = emit(ir.Add(), scaled, other, shape=(2, 6, 3))
    relu = emit(ir.Apply("relu", torch.relu, (ir.Slot(0),)), summed, shape=(2, 6, 3))
    alike = Alike(Graph((x, other), tuple(nodes), relu))

    assert list(alike.of(scaled)) == [scaled, conv, summed, other]
    assert list(alike.of(relu)) == [relu]
    assert list(alike.of(x)) == [x]
    assert alike.readers(summed) == [relu.node]
