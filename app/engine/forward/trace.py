"""Follows descriptions through a module tree and writes down what they say, as a graph. No weight is read.

Each description is called once, with values that know their shapes. Shapes of anything but the plain operators come
from running the function once on zeros.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph, Node, Scope, Value
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor, tensor_of


class UnknownFlow(Exception):
    """The data flow of a module can't be followed: its class is not described, or an instance departs from it."""

    def __init__(self, path: str, code: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.code, self.reason = path, code, reason


Lookup = Callable[[Module], Family | None]


@dataclass(frozen=True, slots=True)
class Trace:
    """A graph, and which module was read as what, in call order."""

    graph: Graph
    calls: tuple[tuple[Module, Family], ...]

    def times_called(self) -> dict[int, int]:
        """How often each module node (by id) was called."""
        counts: dict[int, int] = {}
        for module, _ in self.calls:
            counts[id(module.node)] = counts.get(id(module.node), 0) + 1
        return counts


def trace(module: Module, shapes: Sequence[tuple[int, ...]], lookup: Lookup) -> Trace:
    """What `module` computes from inputs of these shapes.

    A module that takes a list of tensors gets a list if there are several shapes. Raises UnknownFlow.
    """
    ops = Ops(lookup)
    inputs = tuple(Value(tuple(shape)) for shape in shapes)
    outputs = Block(module, ops)(inputs[0] if len(inputs) == 1 else list(inputs))
    ops.check_overwritten(outputs)
    return Trace(ir.live(Graph(inputs, tuple(ops.nodes), outputs)), tuple(ops.calls))


def trace_run(modules: Sequence[Module], shapes: Sequence[tuple[int, ...]], lookup: Lookup) -> Trace:
    """What modules compute that are called one after the other. Raises UnknownFlow."""
    ops = Ops(lookup)
    start = Value(tuple(shapes[0]))
    x: Any = start
    for module in modules:
        x = Block(module, ops)(x)
    return Trace(ir.live(Graph((start,), tuple(ops.nodes), x)), tuple(ops.calls))


@dataclass(frozen=True, slots=True)
class Block:
    """A module as its description sees it: `block.conv(x)` calls a child, `block.gamma` a Const, `block.nl` an int."""

    module: Module
    ops: "Ops"
    family: Family | None = None

    def __call__(self, *inputs: Any) -> Any:
        return self.ops.call(self.module, inputs)

    def __getattr__(self, name: str) -> Any:
        found = self.find(name)
        if found is None and not self.has(name):
            raise UnknownFlow(self.module.path, "structure-differs", f"has no attribute {name}")
        return found

    def find(self, name: str) -> Any:
        """The attribute, child (as Block), parameter or buffer (as Const), else the family's default, else None."""
        modules = self.module.table("_modules")
        if name in modules:
            child = self.module.child(name)
            return None if child is None else Block(child, self.ops)
        for table in ("_parameters", "_buffers"):
            if name in self.module.table(table):
                return self._const(name, self.module.table(table)[name])
        if name in self.module.state:
            return self._const(name, self.module.state[name])
        return dict(self.family.defaults).get(name) if self.family else None

    def has(self, name: str) -> bool:
        """What `hasattr` would say (a branch set to None counts as there)."""
        return self.module.has(name) or bool(self.family and name in self.family.defaults)

    def _const(self, name: str, node: Any) -> Any:
        stored = tensor_of(node)
        return node if stored is None else const(self.module.at(name), stored)

    def __iter__(self) -> Iterator["Block"]:
        """The children in order, for ModuleList and Sequential."""
        return (Block(child, self.ops) for _, child in self.module.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.module.children())

    def __getitem__(self, index: int) -> "Block":
        return list(self)[index]


def const(path: str, stored: StoredTensor) -> Const:
    return Const((stored,), (path,), stored.shape)


def expression(compute: Callable[..., Tensor], *parts: Const) -> Const:
    """A constant computed from others (`weight_gen`); its shape by computing it once from zeros."""
    sources = tuple(source for part in parts for source in part.sources)
    paths = tuple(path for part in parts for path in part.paths)
    shape = compute(*(torch.zeros(part.shape) for part in parts)).shape
    return Const(sources, paths, tuple(shape), compute)


def literal(tensor: Tensor) -> Const:
    return Const((), (), tuple(tensor.shape), None, tensor)


@dataclass(slots=True)
class Ops:
    """The vocabulary of descriptions. Values go in, a value comes out, a node is written down."""

    lookup: Lookup
    nodes: list[Node] = field(default_factory=list)
    calls: list[tuple[Module, Family]] = field(default_factory=list)
    owner: str = ""
    scope: Scope | None = None
    inside: list[int] = field(default_factory=list)
    absorbing: bool = False  # the block whose scope this is takes inner blocks for parts of itself
    overwritten: list[tuple[Value, int, str]] = field(default_factory=list)

    # --- calls -------------------------------------------------------------------------------------------------

    def call(self, module: Module, inputs: tuple[Any, ...]) -> Any:
        """What the module computes, by the description of its class."""
        if id(module.node) in self.inside:
            raise UnknownFlow(module.path, "calls-itself", "the module contains itself")
        family = self.lookup(module)
        if family is None:
            raise UnknownFlow(module.path, "class-not-known", f"no description fits class {module.class_path}")
        self._check_instance(module, family)
        self.calls.append((module, family))
        with self._entered(module, family):
            return family.describe(Block(module, self, family), inputs[0] if len(inputs) == 1 else inputs, self)

    def _check_instance(self, module: Module, family: Family) -> None:
        if module.hooks:
            raise UnknownFlow(module.path, "has-hooks", f"hooks run around its forward: {', '.join(module.hooks)}")
        if module.parametrized:
            raise UnknownFlow(module.path, "parametrized", "its weights are computed by a parametrization")
        if module.forward_override not in (None, *family.overrides):
            raise UnknownFlow(module.path, "forward-replaced", "an instance attribute shadows its class's forward")

    @contextmanager
    def _entered(self, module: Module, family: Family) -> Iterator[None]:
        before = (self.owner, self.scope, self.absorbing)
        self.owner = module.path
        in_block = self.scope is not None and not self.scope.chain
        if family.deploy is not None and not (in_block and self.absorbing):
            self.scope, self.absorbing = Scope(module.path, chain=False), family.deploy.absorbs
        elif not in_block:
            self.scope = Scope("", chain=True) if family.leaf else None
        self.inside.append(id(module.node))
        try:
            yield
        finally:
            self.owner, self.scope, self.absorbing = before
            self.inside.pop()

    def overwrites(self, x: Value) -> None:
        """The layer works in place: who reads `x` from here on sees the layer's output instead."""
        self.overwritten.append((x, len(self.nodes), self.owner))

    def check_overwritten(self, outputs: Any) -> None:
        """Raises UnknownFlow where a value is read after a layer wrote over it: the description says otherwise."""
        for value, at, path in self.overwritten:
            later = (read for node in self.nodes[at + 1 :] for read in node.inputs)
            if any(read is value for read in (*later, *ir.leaves(outputs))):
                raise UnknownFlow(path, "works-in-place", "it overwrites its input, which others read afterwards")

    # --- linear operators --------------------------------------------------------------------------------------

    def conv(
        self,
        x: Value,
        weight: Const,
        bias: Const | None = None,
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        padding_mode: str = "zeros",
    ) -> Value:
        """Convolution with weight (out, in / groups, *kernel); padding is (begin, end) per dimension."""
        operation = ir.Conv(weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups, padding_mode)
        if x.shape[1] != weight.shape[1] * groups:
            raise self._misfit(f"{x.shape[1]} channels meet a convolution for {weight.shape[1] * groups}")
        spatial = []
        for size, kernel, s, (begin, end), d in zip(
            x.shape[2:], weight.shape[2:], operation.stride, operation.padding, operation.dilation, strict=True
        ):
            spatial.append((size + begin + end - d * (kernel - 1) - 1) // s + 1)
        if min(spatial, default=1) < 1:
            raise self._misfit(f"maps of {x.shape[2:]} are smaller than the kernel {weight.shape[2:]}")
        return self._emit(operation, (x,), (x.shape[0], weight.shape[0], *spatial))

    def conv_transposed(
        self,
        x: Value,
        weight: Const,
        bias: Const | None = None,
        *,
        stride: Sequence[int],
        padding: Sequence[int],
        output_padding: Sequence[int],
        dilation: Sequence[int],
        groups: int = 1,
    ) -> Value:
        """Transposed convolution with weight (in, out / groups, *kernel)."""
        pads = tuple((p, p) for p in padding)
        operation = ir.Conv(
            weight, bias, tuple(stride), pads, tuple(dilation), groups, "zeros", True, tuple(output_padding)
        )
        if x.shape[1] != weight.shape[0]:
            raise self._misfit(f"{x.shape[1]} channels meet a transposed convolution for {weight.shape[0]}")
        spatial = tuple(
            (size - 1) * s - 2 * p + d * (kernel - 1) + extra + 1
            for size, s, p, d, kernel, extra in zip(
                x.shape[2:], stride, padding, dilation, weight.shape[2:], output_padding, strict=True
            )
        )
        return self._emit(operation, (x,), (x.shape[0], weight.shape[1] * groups, *spatial))

    def linear(self, x: Value, weight: Const, bias: Const | None = None) -> Value:
        if x.shape[-1] != weight.shape[1]:
            raise self._misfit(f"{x.shape[-1]} features meet a Linear for {weight.shape[1]}")
        return self._emit(ir.Linear(weight, bias), (x,), (*x.shape[:-1], weight.shape[0]))

    def batch_norm(
        self, x: Value, mean: Const | None, var: Const | None, weight: Const | None, bias: Const | None, eps: float
    ) -> Value:
        for part in (mean, var, weight, bias):
            if part is not None and part.shape != (x.shape[1],):
                raise self._misfit(f"{x.shape[1]} channels meet a batch norm for {part.shape}")
        return self._emit(ir.BatchNorm(mean, var, weight, bias, eps), (x,), x.shape)

    def scale(self, x: Value, factor: Const, axis: int = 1) -> Value:
        """x * factor, the factor along dimension `axis`."""
        return self._emit(ir.Scale(self._along(x, factor, axis), axis), (x,), x.shape)

    def shift(self, x: Value, offset: Const, axis: int = 1) -> Value:
        """x + offset, the offset along dimension `axis`."""
        return self._emit(ir.Shift(self._along(x, offset, axis), axis), (x,), x.shape)

    def _along(self, x: Value, part: Const, axis: int) -> Const:
        count = 1
        for size in part.shape:
            count *= size
        if count not in (1, x.shape[axis]):
            raise self._misfit(f"{count} factors meet {x.shape[axis]} channels")
        return part

    def add(self, x: Value, y: Value) -> Value:
        if x.shape != y.shape:
            return self.apply("add", torch.add, x, y)
        return self._emit(ir.Add(), (x, y), x.shape)

    def concat(self, values: Sequence[Value], dim: int = 1) -> Value:
        first = values[0].shape
        dim = dim % len(first)
        for value in values[1:]:
            if value.shape[:dim] + value.shape[dim + 1 :] != first[:dim] + first[dim + 1 :]:
                raise self._misfit(f"maps of {[value.shape for value in values]} can't be concatenated along {dim}")
        shape = (*first[:dim], sum(value.shape[dim] for value in values), *first[dim + 1 :])
        return self._emit(ir.Concat(dim), tuple(values), shape)

    def avg_pool(
        self,
        x: Value,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Value:
        operation = ir.AvgPool(tuple(kernel), tuple(stride), tuple(padding), ceil_mode, count_include_pad)
        pool = (torch.nn.functional.avg_pool1d, torch.nn.functional.avg_pool2d, torch.nn.functional.avg_pool3d)
        shape = pool[len(kernel) - 1](
            torch.zeros(x.shape), operation.kernel, operation.stride, operation.padding, ceil_mode
        ).shape
        return self._emit(operation, (x,), tuple(shape))

    # --- everything else ---------------------------------------------------------------------------------------

    def pointwise(self, name: str, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Value:
        """A function of one or more values that keeps the first one's shape (an activation): not run to know it."""
        return self._apply(name, function, args, kwargs, args[0].shape, args[0].dtype)

    def apply(self, name: str, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Value:
        """Any function of tensors with one tensor as its result; Values and Consts may stand among the arguments."""
        try:
            sample = function(*[_sample(arg) for arg in args], **{key: _sample(arg) for key, arg in kwargs.items()})
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._misfit(f"{name} does not take these shapes: {str(error).splitlines()[0]}") from error
        return self._apply(name, function, args, kwargs, tuple(sample.shape), sample.dtype)

    def _apply(
        self,
        name: str,
        function: Callable[..., Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Value:
        inputs: list[Value] = []

        def slot(arg: Any) -> Any:
            if isinstance(arg, Value):
                inputs.append(arg)
                return ir.Slot(len(inputs) - 1)
            return arg

        operation = ir.Apply(name, function, tuple(slot(a) for a in args), {k: slot(a) for k, a in kwargs.items()})
        return self._emit(operation, tuple(inputs), shape, dtype)

    def _emit(
        self,
        operation: ir.Operation,
        inputs: tuple[Value, ...],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> Value:
        output = Value(shape, None, dtype)
        node = Node(operation, inputs, output, self.owner, self.scope)
        output.node = node
        self.nodes.append(node)
        return output

    def _misfit(self, reason: str) -> UnknownFlow:
        return UnknownFlow(self.owner, "shapes-differ", reason)


def _sample(arg: Any) -> Any:
    """Zeros in the place of values; torch's meta device would load 80 MB of shape functions for a second."""
    if isinstance(arg, Value):
        return torch.zeros(arg.shape, dtype=arg.dtype)
    if isinstance(arg, Const):
        stored = arg.stored_dtype
        return torch.zeros(arg.shape, dtype=torch.float32 if stored.is_floating_point else stored)
    return arg
