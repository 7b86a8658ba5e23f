"""The affine reading: which stretches it finds, at what price, and why it ends them."""

from dataclasses import replace

import torch
from hypothesis import given, settings

from app.engine.forward.vocabulary import expression
from app.engine.interpret import affine
from app.engine.interpret.affine import Barrier
from app.engine.interpret.lockstep import Fused, prove
from app.engine.interpret.pending import node_cost
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Value
from tests.engine.interpret.drawn_graphs import Builder, graphs

HERE = "one place"


def everywhere(graph: Graph) -> dict[int, affine.Place]:
    return {
        id(node): Barrier("not-linear", "") if isinstance(node.operation, ir.Apply) else HERE for node in graph.nodes
    }


def read(graph: Graph) -> affine.Reading:
    return affine.read(graph, everywhere(graph))


def start(channels: int = 4) -> tuple[Builder, Value]:
    return Builder(), Value((2, channels, 9, 7))


def test_no_region_goes_through_a_value_without_elements():
    one = Const((), (), (), None, torch.ones(()))
    x, y, z = (Value((2, 0, 9)) for _ in range(3))
    nodes = (Node(ir.Shift(one, 1), (x,), y, "first", None), Node(ir.Shift(one, 1), (y,), z, "second", None))
    reading = read(Graph((x,), nodes, ((z,),)))
    assert not reading.regions
    assert {cut.code for cut in reading.cuts.values()} <= {"empty"}


def kinds(region: affine.Region) -> list[str]:
    return [type(node.operation).__name__ for node in region.nodes]


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_every_region_computes_the_same_costs_no_more_and_keeps_inner_values_to_itself(graph):
    reading = read(graph)
    inputs = [torch.randn(2, 4, 9, 7, dtype=torch.float64)]
    fused = []
    for region in reading.regions:
        conv = region.pending.convolution()
        fused.append(Fused(region, conv.weight, conv.bias))
        assert len(region.nodes) >= 2
        parameters = sum(node_cost(node).parameters for node in region.nodes)
        assert conv.weight.numel() + conv.bias.numel() <= parameters
    proof = prove(graph, fused, inputs, torch.float64, "cpu")
    assert proof.identity < 1e-11
    assert all(region.identity < 1e-11 and region.rounding <= 1 for region in proof.regions)
    _assert_apart(graph, reading)


def _assert_apart(graph: Graph, reading: affine.Reading) -> None:
    owned = [id(node) for region in reading.regions for node in region.nodes]
    assert len(owned) == len(set(owned))
    for region in reading.regions:
        own = {id(node) for node in region.nodes}
        inner = {id(node.output) for node in region.nodes} - {id(region.output)}
        readers = [node for node in graph.nodes if any(id(value) in inner for value in node.inputs)]
        assert all(id(node) in own for node in readers)
        assert not inner & {id(value) for value in graph.output_values()}
    norms = [n for n in graph.nodes if isinstance(n.operation, (ir.BatchNorm, ir.Scale, ir.Shift))]
    assert all((id(norm) in owned) != (id(norm) in reading.cuts) for norm in norms)


def test_branches_of_one_value_become_one_convolution():
    b, x = start()
    y = b.ops.add(b.ops.add(b.norm(b.conv(x, 4, 3, False, 1)), b.norm(b.conv(x, 4, 1, False))), b.norm(x))
    graph = b.graph(x, b.act(y))
    (region,) = read(graph).regions
    assert sorted(kinds(region)) == sorted(["Conv", "Conv", "Add", "Add", "BatchNorm", "BatchNorm", "BatchNorm"])
    assert region.pending.convolution().kernel == (3, 3)


def test_branches_behind_a_linear_convolution_share_its_value_as_ancestor():
    b, x = start()
    stem = b.norm(b.conv(x, 4, 3, False, 1))
    y = b.ops.add(b.conv(stem, 4, 3, True, 1), b.conv(stem, 4, 1))
    regions = read(b.graph(x, b.act(y))).regions
    assert [kinds(region) for region in regions] == [["Conv", "BatchNorm"], ["Conv", "Conv", "Add"]]


def test_branches_of_different_values_stay_apart():
    b, x = start()
    y = b.ops.add(b.conv(x, 4, 1), b.conv(b.act(x), 4, 1))
    assert not read(b.graph(x, y)).regions


def test_a_value_that_is_read_twice_is_cut_and_its_norm_folded_before():
    b, x = start()
    y = b.norm(b.conv(x, 4, 3, False, 1))
    graph = b.graph(x, [b.scale(y), b.act(y)])
    reading = read(graph)
    assert [kinds(region) for region in reading.regions] == [["Conv", "BatchNorm"]]
    assert [cut.code for cut in reading.cuts.values()] == ["several-readers"]


def test_an_inner_value_that_is_an_output_bounds_the_region():
    b, x = start()
    y = b.conv(x, 4, 3, False, 1)
    reading = read(b.graph(x, [y, b.norm(y)]))
    assert not reading.regions
    assert len(reading.cuts) == 1


def test_a_stretch_that_would_grow_is_replaced_in_its_parts():
    b, x = start()
    y = b.norm(b.conv(b.norm(b.conv(x, 4, 3, False, 0)), 4, 3, False, 0))
    reading = read(b.graph(x, y))
    assert [kinds(region) for region in reading.regions] == [["Conv", "BatchNorm"]] * 2
    assert not reading.cuts


def test_a_greedy_choice_would_leave_more_behind():
    """The first two would grow together and so would all three; the last two shrink: only looking ahead finds it."""
    b = Builder()
    x = Value((2, 64, 9, 7))
    narrow = b.conv(x, 4, bias=False)
    wide = b.conv(narrow, 32, bias=False)
    graph = b.graph(x, b.act(b.conv(wide, 64, bias=False)))
    (region,) = read(graph).regions
    assert region.input is narrow
    assert region.pending.convolution().weight.shape == (64, 4, 1, 1)


def test_a_value_that_all_branches_read_is_taken_in_with_them():
    b, x = start(16)
    stem = b.conv(x, 64, 1, bias=False)
    y = b.ops.add(b.conv(stem, 4, 3, True, 1), b.conv(stem, 4, 1))
    (region,) = read(b.graph(x, b.act(y))).regions
    assert region.input is x
    assert region.pending.convolution().weight.shape == (4, 16, 3, 3)


def test_padding_goes_into_the_convolution_behind_it():
    b, x = start()
    graph = b.graph(x, b.act(b.norm(b.conv(b.pad(x), 4, 3))))
    (region,) = read(graph).regions
    assert kinds(region) == ["Pad", "Conv", "BatchNorm"]
    assert region.pending.convolution().geometry.padding == ((0, 1), (1, 1))


def test_padding_behind_a_shift_is_a_border_that_one_bias_does_not_express():
    b, x = start()
    reading = read(b.graph(x, b.act(b.conv(b.pad(b.norm(x)), 4, 3))))
    assert [kinds(region) for region in reading.regions] == [["Pad", "Conv"]]
    assert [cut.code for cut in reading.cuts.values()] == ["border-differs"]


def test_a_scale_before_padding_goes_in_where_the_shift_before_it_stays():
    b, x = start()
    reading = read(b.graph(x, b.act(b.conv(b.scale(b.shift(x)), 4, 3, padding=1))))
    assert [kinds(region) for region in reading.regions] == [["Scale", "Conv"]]
    assert [cut.code for cut in reading.cuts.values()] == ["border-differs"]


def test_a_convolution_of_which_some_channels_are_read_computes_those_only():
    b, x = start()
    (region,) = read(b.graph(x, b.act(b.ops.take(b.conv(x, 8, 3), (5, 1, 1))))).regions
    assert region.pending.convolution().weight.shape == (3, 4, 3, 3)


def test_convolutions_of_shares_of_the_channels_become_one_grouped_convolution():
    b, x = start(8)
    low, high = b.halves(x)
    y = b.ops.concat([b.norm(b.conv(low, 6, 3, padding=1)), b.norm(b.conv(high, 6, 3, padding=1))])
    (region,) = read(b.graph(x, b.act(y))).regions
    fused = region.pending.convolution()
    assert (fused.weight.shape, fused.geometry.groups) == ((12, 4, 3, 3), 2)


def test_shares_in_another_order_do_not_pass_for_groups():
    b, x = start(8)
    low, high = b.halves(x)
    y = b.ops.concat([b.conv(high, 6, 3), b.conv(low, 6, 3)])
    assert all("Concat" not in kinds(region) for region in read(b.graph(x, b.act(y))).regions)


def test_convolutions_of_one_value_become_one_where_they_are_concatenated():
    b, x = start()
    y = b.ops.concat([b.conv(x, 6, 3), b.norm(b.conv(x, 2, 3))])
    (region,) = read(b.graph(x, b.act(y))).regions
    assert region.pending.convolution().weight.shape == (8, 4, 3, 3)


def test_a_long_chain_of_joints_is_read_in_time():
    b, x = start(2)
    y = x
    for _ in range(500):
        y = b.ops.add(y, b.conv(y, 2, 1, bias=False))
    reading = read(b.graph(x, y))
    assert len(reading.regions) > 10
    assert sum(len(region.nodes) for region in reading.regions) == 1000


def test_pricing_builds_no_weights(monkeypatch):
    """A dense 1x1 beside a depthwise 31x31 at 1,024 channels would be 8 GB in float64."""
    b, _ = start()
    x = Value((1, 1024, 32, 32))
    wide = b.ops.add(b.conv(x, 1024, 31, False, 15, groups=1024), b.conv(x, 1024, 1, False))
    reading = read(b.graph(x, wide))
    assert not reading.regions


def test_places_keep_regions_apart():
    b, x = start()
    y = b.norm(b.conv(x, 4, 3, False, 1))
    graph = b.graph(x, y)
    conv, norm = graph.nodes
    reading = affine.read(graph, {id(conv): "one", id(norm): "another"})
    assert not reading.regions
    assert [cut.code for cut in reading.cuts.values()] == ["no-convolution-beside"]
    assert affine.read(graph, {id(conv): "one"}).regions == ()


def test_a_norm_before_an_activation_is_told_what_stands_beside_it():
    """As in DenseNet, and in ResNets with pre-activation, whose sums others read as well."""
    b, x = start()
    joined = b.ops.concat([x, b.act(x)])
    added = b.ops.add(x, b.act(x))
    outputs = [b.act(b.norm(joined)), b.act(b.norm(added)), b.act(added)]
    cuts = read(b.graph(x, outputs)).cuts.values()
    assert {cut.code for cut in cuts} == {"no-convolution-beside"}
    assert ["a concatenation and SiLU" in cut.reason for cut in cuts] == [True, False]
    assert ["a sum and SiLU" in cut.reason for cut in cuts] == [False, True]


def test_a_layer_whose_weights_are_computed_is_worth_it_alone_without_a_bias():
    b, x = start()
    y = b.conv(x, 4, 3, False, 1)
    convolution = y.node.operation
    made = replace(convolution, weight=expression(lambda weight: weight * 2, convolution.weight))
    graph = Graph((x,), (replace(y.node, operation=made),), y)
    (region,) = read(graph).regions
    assert region.pending.fused_cost.parameters == region.pending.cost.parameters
    assert not read(b.graph(x, y)).regions


def test_a_lone_norm_is_no_region():
    b, x = start()
    assert not read(b.graph(x, b.act(b.norm(x)))).regions
    b, x = start()
    assert not read(b.graph(x, b.norm(b.scale(b.shift(x))))).regions
