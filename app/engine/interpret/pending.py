"""What the affine reading knows of a value: how it follows from its ancestor, priced by shapes, computed on demand.

Nothing here is materialised before `convolution()` or `rounded()` is called.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from app.engine import algebra
from app.engine.algebra import Affine, Branch, ConvMap, Geometry, Plan, Refusal, Rounded, Sum
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node, Value


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stretch of operators costs: operators, parameters and buffers, multiply-adds at the traced shape."""

    operators: int
    parameters: int
    multiply_adds: int
    bias: int = 0  # how many of the parameters are the bias of what stands in for others
    even: bool = False  # worth it at as many operators as before, if the parameters are fewer

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.operators + other.operators,
            self.parameters + other.parameters,
            self.multiply_adds + other.multiply_adds,
            self.bias + other.bias,
        )


@dataclass(frozen=True, eq=False)
class Core:
    """A convolution to be: its plan is known, its numbers are computed by `build`.

    `plain` is the node whose weight is the core's weight as it is stored, where there is such a node. `parts` are
    the values below, at which the stretch can be cut again, with what stands above the cut.
    """

    plan: Plan
    build: Callable[[], ConvMap]
    bias_zero: bool  # known without building: no bias, or one of zeros
    plain: Node | None = None
    parts: "tuple[Pending, ...]" = ()
    last: Node | None = None  # the operation that joined the parts
    branches: Callable[[], Sum] | None = None  # the same as a sum that is not added yet, where it can be had
    window: "Window | None" = None  # set if only these channels of the ancestor are read

    @cached_property
    def depth(self) -> int:
        """How many joints lie above one another: `build` recurses that far."""
        return 1 + max((part.core.depth for part in self.parts if part.core), default=0)


@dataclass(frozen=True, slots=True)
class Window:
    """A core that reads neighbouring channels only: which, and the core over them alone."""

    start: int
    stop: int
    core: Core


@dataclass(frozen=True, eq=False)
class Pending:
    """A value as `after(core(ancestor))`; without a core the ancestor scaled and shifted, or the ancestor itself."""

    ancestor: Value
    value: Value
    axis: int  # the channel dimension
    core: Core | None = None
    after: Affine | None = None
    nodes: tuple[Node, ...] = ()

    @property
    def is_ancestor(self) -> bool:
        return not self.nodes

    @cached_property
    def bias_zero(self) -> bool:
        """True if an ancestor of zeros is known to give zeros; nothing is built to find out."""
        shifted = self.after is not None and bool(self.after.shift.any())
        return not shifted and (self.core is None or self.core.bias_zero)

    @cached_property
    def cost(self) -> Cost:
        """What the nodes cost as they are; a constant that several of them read counts once."""
        total = sum((node_cost(node) for node in self.nodes), Cost(0, 0, 0))
        return replace(total, parameters=total.parameters - _repeated(self.nodes))

    @cached_property
    def fused_cost(self) -> Cost:
        """What one convolution in their place would cost: with a bias, but for one alone that has none."""
        assert self.core is not None
        plan = self.core.plan
        weights = prod(plan.weight_shape)
        maps = self.ancestor.shape if plan.geometry.transposed else self.value.shape
        bias = 0 if self._needs_no_bias else self.value.shape[self.axis]
        return Cost(1, weights + bias, weights * _positions(maps, self.axis), bias)

    @property
    def _needs_no_bias(self) -> bool:
        """A layer alone, whose weight is computed before each call, stays without a bias."""
        operation = self.nodes[0].operation if len(self.nodes) == 1 else None
        return isinstance(operation, (ir.Conv, ir.Linear)) and operation.bias is None

    def then(self, affine: Affine, node: Node) -> "Pending":
        """The node, which is that affine map, behind it."""
        after = affine if self.after is None else self.after.then(affine)
        return replace(self, value=node.output, after=after, nodes=(*self.nodes, node))

    def convolution(self) -> ConvMap:
        """The whole stretch as one convolution, in float64."""
        core = self.core.build() if self.core else self._identity()
        return core if self.after is None else algebra.fold_affine(core, self.after)

    def _identity(self) -> ConvMap:
        channels = self.value.shape[self.axis]
        return algebra.identity_map(channels, _dims(self))

    @property
    def has_branches(self) -> bool:
        return self.core is None or self.core.branches is not None

    def branches(self) -> Sum:
        """`convolution()` as a sum that is not added yet; `has_branches` says whether that is possible."""
        if self.core is None:
            channels = self.value.shape[self.axis]
            found = algebra.identity_sum(channels, _dims(self))
        else:
            assert self.core.branches is not None
            found = self.core.branches()
        return found if self.after is None else found.then(self.after)

    def rounded(self, dtype: torch.dtype) -> Rounded | Refusal:
        """The weights in `dtype`, computed in float64 and rounded once; a Refusal where the dtype can't hold them.

        A lone convolution with an affine map behind it goes the short way: its weight is scaled, never widened whole.
        """
        plain = self.core.plain if self.core else None
        if plain is None and self.core is not None and self.core.branches is not None:
            return algebra.round_sum(self.branches(), self.core.plan, dtype)
        if plain is None or self.after is None:
            exact = self.convolution()
            rounded = algebra.round_map(exact, dtype)
            refusal = algebra.representable(exact.weight, rounded.weight)
            return refusal or algebra.representable(exact.bias, rounded.bias) or rounded
        return self._scaled(plain, self.after, dtype)

    def _scaled(self, plain: Node, after: Affine, dtype: torch.dtype) -> Rounded | Refusal:
        operation = plain.operation
        assert isinstance(operation, (ir.Conv, ir.Linear))
        geometry = geometry_of(operation)
        stored = operation.weight.sources[0].read()
        weight = algebra.round_weight(stored, after.scale, dtype, geometry.transposed, geometry.groups)
        bias = after.shift if operation.bias is None else after.scale * double(operation.bias) + after.shift
        rounded = Rounded(weight, algebra.round_once(bias, dtype))
        refusal = algebra.representable(
            stored, weight, gain=after.scale, transposed=geometry.transposed, groups=geometry.groups
        )
        return refusal or algebra.representable(bias, rounded.bias) or rounded


def double(const: Const) -> Tensor:
    return const.value(torch.float64)


def vector(const: Const, channels: int) -> Tensor:
    """A constant as float64 (channels,)."""
    return double(const).reshape(-1).expand(channels) if prod(const.shape) == 1 else double(const).reshape(-1)


def geometry_of(operation: ir.Conv | ir.Linear) -> Geometry:
    if isinstance(operation, ir.Linear):
        return Geometry((), (), ())
    return Geometry(
        operation.stride,
        operation.padding,
        operation.dilation,
        operation.groups,
        operation.padding_mode,
        operation.transposed,
        operation.output_padding,
    )


def map_of(operation: ir.Conv | ir.Linear) -> ConvMap:
    """A convolution node as a map, in float64."""
    weight, geometry = double(operation.weight), geometry_of(operation)
    channels = weight.shape[1] * geometry.groups if geometry.transposed else weight.shape[0]
    bias = torch.zeros(channels, dtype=torch.float64) if operation.bias is None else double(operation.bias)
    return ConvMap(weight, bias, geometry)


def conv_core(node: Node) -> Core:
    """A convolution on its own."""
    operation = node.operation
    assert isinstance(operation, (ir.Conv, ir.Linear))
    plan = Plan(operation.weight.shape, geometry_of(operation))
    stored = operation.weight.compute is None and operation.weight.literal is None
    alone = stored and not plan.geometry.transposed
    return Core(
        plan,
        lambda: map_of(operation),
        _zero(operation.bias),
        node if stored else None,
        branches=(lambda: _stored_sum(operation, plan)) if alone else None,
    )


def _stored_sum(operation: ir.Conv | ir.Linear, plan: Plan) -> Sum:
    """A convolution node as it is stored."""
    gain = torch.ones(plan.out_channels, dtype=torch.float64)
    bias = torch.zeros_like(gain) if operation.bias is None else double(operation.bias)
    return Sum((Branch(operation.weight.sources[0].read(), gain, plan),), bias)


def _zero(bias: Const | None) -> bool:
    return bias is None or not bool(double(bias).any())


def conv_after_affine(pending: Pending, core: Core) -> Core | Refusal:
    """core(affine(x)), where the affine map is all that stands between."""
    affine, plan = pending.after, core.plan
    assert affine is not None
    refusal = algebra.shift_before_refusal(plan.kernel, plan.geometry, pending.bias_zero)
    if refusal is not None:
        return refusal

    def build() -> ConvMap:
        folded = algebra.fold_affine_before(affine, core.build())
        assert isinstance(folded, ConvMap)
        return folded

    return Core(plan, build, pending.bias_zero and core.bias_zero)


def composed_core(first: Pending, node: Node, second: Core) -> Core | Refusal:
    """second(first(x)) as one convolution."""
    assert first.core is not None
    plan = algebra.compose_plan(
        first.core.plan.weight_shape,
        first.core.plan.geometry,
        second.plan.weight_shape,
        second.plan.geometry,
        first.bias_zero,
    )
    if isinstance(plan, Refusal):
        return plan

    def build() -> ConvMap:
        composed = algebra.compose(first.convolution(), second.build())
        assert isinstance(composed, ConvMap)
        return composed

    above = Pending(first.value, node.output, first.axis, second, None, (node,))
    window = _composed_window(first, node, second)
    if isinstance(window, Refusal):
        return window
    return Core(plan, build, first.bias_zero and second.bias_zero, None, (first, above), node, window=window)


def _composed_window(first: Pending, node: Node, second: Core) -> Window | Refusal | None:
    assert first.core is not None
    window = first.core.window
    if window is None:
        return None
    inner = composed_core(replace(first, core=window.core), node, second)
    return inner if isinstance(inner, Refusal) else Window(window.start, window.stop, inner)


def joined_core(parts: tuple[Pending, ...], node: Node) -> Core | Refusal:
    """The sum or the concatenation of branches of one ancestor as one convolution."""
    plans = [part.core.plan if part.core else algebra.identity_plan(part.value.shape[1], _dims(part)) for part in parts]
    adding = isinstance(node.operation, ir.Add)
    if not adding:
        blocks = _blocks_core(parts, node)
        if blocks is not None:
            return blocks
    plan = (algebra.merge_plan if adding else algebra.concat_plan)(plans)
    if isinstance(plan, Refusal):
        return plan

    def build() -> ConvMap:
        joined = (algebra.merge if adding else algebra.concat)([part.convolution() for part in parts])
        assert isinstance(joined, ConvMap)
        return joined

    zero = all(part.bias_zero for part in parts)
    alike = all(part.core is None or part.core.plan.geometry.groups == plan.geometry.groups for part in parts)
    alone = adding and alike and all(part.has_branches for part in parts)
    branches = (lambda: algebra.joined([part.branches() for part in parts])) if alone else None
    return Core(plan, build, zero, None, parts, node, branches)


def _blocks_core(parts: tuple[Pending, ...], node: Node) -> Core | None:
    """Parts that read one share of the channels each, in order, and are alike: one grouped convolution."""
    windows = [part.core.window for part in parts if part.core and part.core.window]
    if len(windows) != len(parts) or len({window.core.plan for window in windows}) > 1:
        return None
    edges = [0, *(window.stop for window in windows)]
    in_order = all(window.start == edge for window, edge in zip(windows, edges, strict=False))
    if not in_order or edges[-1] != parts[0].ancestor.shape[parts[0].axis]:
        return None
    plan = algebra.blocks_plan([window.core.plan for window in windows])
    inner = [replace(part, core=window.core) for part, window in zip(parts, windows, strict=True)]
    zero = all(part.bias_zero for part in inner)
    return Core(plan, lambda: algebra.blocks([part.convolution() for part in inner]), zero, None, parts, node)


def pad_core(node: Node) -> Core:
    """Zeros around the maps, as a depthwise 1x1 with padding."""
    operation = node.operation
    assert isinstance(operation, ir.Pad)
    channels, padding = node.output.shape[1], operation.padding
    plan = algebra.pad_plan(channels, padding)
    return Core(plan, lambda: algebra.pad_map(channels, padding), True)


def take_core(node: Node) -> Core | Refusal:
    """Some channels, as a dense map of zeros and ones."""
    operation, x = node.operation, node.inputs[0]
    assert isinstance(operation, ir.Take)
    if operation.axis not in (1, len(x.shape) - 1):
        return Refusal("not-over-channels", f"takes parts along dimension {operation.axis}, which is not the channels")
    channels, taken = x.shape[operation.axis], operation.channels
    dims = len(x.shape) - 2 if operation.axis == 1 else 0
    plan = algebra.selection_plan(channels, taken, dims)
    window = None
    if taken == tuple(range(taken[0], taken[0] + len(taken))):
        alone = algebra.identity_plan(len(taken), dims)
        core = Core(alone, lambda: algebra.identity_map(len(taken), dims), True)
        window = Window(taken[0], taken[0] + len(taken), core)
    return Core(plan, lambda: algebra.selection_map(channels, taken, dims), True, window=window)


def pool_core(node: Node) -> Core | Refusal:
    """An average pool as a depthwise convolution."""
    operation = node.operation
    assert isinstance(operation, ir.AvgPool)
    lifted = algebra.average_pool_map(
        node.output.shape[1],
        operation.kernel,
        operation.stride,
        operation.padding,
        operation.count_include_pad,
        operation.ceil_mode,
    )
    if isinstance(lifted, Refusal):
        return lifted
    return Core(lifted.plan, lambda: lifted, True)


def _dims(pending: Pending) -> int:
    return len(pending.value.shape) - 2 if pending.axis == 1 else 0


def _positions(shape: tuple[int, ...], axis: int) -> int:
    return prod(shape) // shape[axis]


def _repeated(nodes: tuple[Node, ...]) -> int:
    """How many numbers are counted once more than they are there."""
    seen: set[Hashable] = set()
    more = 0
    for const in (const for node in nodes for const in node.consts() if const.numbers is None):
        held: list[tuple[Hashable, int]] = [
            ((id(one.storage), one.offset, one.shape, one.stride), one.numel) for one in const.sources
        ]
        held = held if const.literal is None else [(id(const.literal), const.numel)]
        for key, count in held:
            more += count if key in seen else 0
            seen.add(key)
    return more


def numbers_of(const: Const) -> int:
    """How many numbers are kept for a constant."""
    if const.numbers is not None:
        return const.numbers
    return const.numel if const.literal is not None else sum(source.numel for source in const.sources)


def node_cost(node: Node) -> Cost:
    """Parameters and multiply-adds of one node."""
    parameters = sum(numbers_of(const) for const in node.consts())
    operators = 1 + sum(const.made for const in node.consts())
    operation = node.operation
    if isinstance(operation, (ir.Conv, ir.Linear)):
        maps = node.inputs[0].shape if isinstance(operation, ir.Conv) and operation.transposed else node.output.shape
        axis = 1 if isinstance(operation, ir.Conv) else len(maps) - 1
        return Cost(operators, parameters, prod(operation.weight.shape) * _positions(maps, axis))
    if isinstance(operation, ir.AvgPool):
        return Cost(operators, parameters, prod(node.output.shape) * prod(operation.kernel))
    if isinstance(operation, (ir.Concat, ir.Pad, ir.Take)):
        return Cost(operators, parameters, 0)
    return Cost(operators, parameters, prod(node.output.shape))
