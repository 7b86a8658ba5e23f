"""The small SSA form: what a model computes, one operation a node, each value with its shape. Nothing is run here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, get_args

import torch
from torch import Tensor

from app.engine.ir.tensors import StoredTensor


@dataclass(frozen=True, eq=False, slots=True)
class Const:
    """A constant of the model: a stored tensor, or an expression over several ("evaluated once").

    `paths` are the paths of the tensors that it reads: of a module (`conv.weight`), or names in a graph file.
    """

    sources: tuple[StoredTensor, ...]
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    compute: Callable[..., Tensor] | None = None
    literal: Tensor | None = None  # a constant that no tensor of the file holds: a grid, a mask
    varies: bool = False  # known for the traced shapes only (a size that may differ): no weight may be made of it
    made: bool = False  # computed anew at each run by the model's own code: an operator that can be saved
    numbers: int | None = None  # how many of the file's numbers it is priced at, where not all that it reads

    def value(self, dtype: torch.dtype | None, device: str = "cpu") -> Tensor:
        """The constant in `dtype` (None: as stored; integers keep theirs), expressions evaluated in that dtype."""
        if self.literal is not None:
            return _cast(self.literal, dtype, device)
        tensors = [_cast(source.read(), dtype, device) for source in self.sources]
        return tensors[0] if self.compute is None else self.compute(*tensors)

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def stored_dtype(self) -> torch.dtype:
        if self.literal is not None:
            return self.literal.dtype
        return self.sources[0].dtype


def _cast(tensor: Tensor, dtype: torch.dtype | None, device: str) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


@dataclass(frozen=True, slots=True)
class Conv:
    """y = weight * x + bias over 1 to 3 spatial dimensions; padding is (begin, end) for each."""

    weight: Const  # (out, in / groups, *kernel); transposed: (in, out / groups, *kernel)
    bias: Const | None
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    transposed: bool = False
    output_padding: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x @ weight.T + bias over the last dimension."""

    weight: Const  # (out, in)
    bias: Const | None


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """(x - mean) / sqrt(var + eps) * weight + bias over dimension 1. Without mean and var it depends on the batch."""

    mean: Const | None
    var: Const | None
    weight: Const | None
    bias: Const | None
    eps: float


@dataclass(frozen=True, slots=True)
class Scale:
    """x * factor; the factor broadcasts over all but dimension `axis`."""

    factor: Const  # any shape with as many elements as the dimension has, or one
    axis: int = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """x + offset; the offset broadcasts over all but dimension `axis`."""

    offset: Const
    axis: int = 1


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of two values of the same shape."""


@dataclass(frozen=True, slots=True)
class Concat:
    dim: int


@dataclass(frozen=True, slots=True)
class AvgPool:
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True


@dataclass(frozen=True, slots=True)
class Pad:
    """Zeros around the spatial dimensions, (begin, end) for each; a negative number crops."""

    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Take:
    """Some channels, in this order."""

    channels: tuple[int, ...]
    axis: int = 1


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for the input with this number among the arguments of an Apply."""

    index: int


@dataclass(frozen=True, slots=True)
class Passage:
    """Which maps s * x + t along one dimension may stand before a function of one tensor, or behind it instead.

    `axes` pairs the tensor's dimensions with the result's. Where channels are split up or put together, `lands` says
    by channel of the tensor in which channel of the result it ends, `comes` the other way round.
    """

    axes: tuple[tuple[int, int], ...]
    shifts: bool = True  # f(x + t) = f(x) + t
    signs: bool = True  # f(s * x) = s * f(x) even where s is not above 0
    lands: tuple[int, ...] | None = None
    comes: tuple[int, ...] | None = None
    upwards: bool = True  # whether each map behind the function has one before it
    downwards: bool = True


@dataclass(frozen=True, slots=True)
class Apply:
    """Any other function of tensors; a boundary for every region.

    `function` is called with `args` and `kwargs`, in which Slots stand for inputs and Consts for themselves.
    """

    name: str
    function: Callable[..., Tensor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    passage: Passage | None = None


Operation = Conv | Linear | BatchNorm | Scale | Shift | Add | Concat | AvgPool | Pad | Take | Apply
# The fields of each operation that hold constants, some of which may be None.
_CONSTS = {
    kind: tuple(part.name for part in fields(kind) if part.type in (Const, Const | None))
    for kind in get_args(Operation)
}


@dataclass(eq=False, slots=True)
class Value:
    """One tensor of the computation (or a tuple of several, on its way to be taken apart). Compared by identity."""

    shape: tuple[int, ...]
    node: "Node | None" = None  # None for an input of the graph
    dtype: torch.dtype = torch.float32  # in a module tree float32 stands for "the dtype that the model runs in"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a region may be written: within one block that has a deploy form, or along a chain of plain layers.

    `path` is the block's; of a chain it is what its layers have in common, where not all chains are one.
    """

    path: str
    chain: bool


@dataclass(eq=False, slots=True)
class Node:
    """`output = operation(inputs)`, emitted by the module at path `owner`."""

    operation: Operation
    inputs: tuple[Value, ...]
    output: Value
    owner: str  # path of the module, or the name in a graph file of the operator, that it comes from
    scope: Scope | None  # None: nothing that this operation does can be written elsewhere

    def consts(self) -> Iterator[Const]:
        """The constants that the operation reads."""
        yield from consts_of(self.operation)


def consts_of(operation: Operation) -> Iterator[Const]:
    """The constants that an operation reads."""
    if isinstance(operation, Apply):
        yield from (arg for arg in (*operation.args, *operation.kwargs.values()) if isinstance(arg, Const))
    else:
        for name in _CONSTS[type(operation)]:
            part = getattr(operation, name)
            if part is not None:
                yield part


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """Nodes in an order in which they can run. `outputs` is a nest of tuples, lists and dicts of Values."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: Any

    def output_values(self) -> list[Value]:
        return list(leaves(self.outputs))


def leaves(nest: Any) -> Iterator[Value]:
    """The Values in a nest of tuples, lists and dicts, in order."""
    if isinstance(nest, Value):
        yield nest
    elif isinstance(nest, dict):
        for part in nest.values():
            yield from leaves(part)
    elif isinstance(nest, (list, tuple)):
        for part in nest:
            yield from leaves(part)


def mapped(nest: Any, made: Mapping[int, Value]) -> Any:
    """The nest with the values that `made` has, by `id(value)`, in the place of its own."""
    if isinstance(nest, Value):
        return made.get(id(nest), nest)
    if isinstance(nest, dict):
        return {key: mapped(part, made) for key, part in nest.items()}
    return type(nest)(mapped(part, made) for part in nest) if isinstance(nest, (list, tuple)) else nest


def live(graph: Graph) -> Graph:
    """The graph without the nodes that no output reads."""
    needed = {id(value) for value in graph.output_values()}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if id(node.output) in needed:
            kept.append(node)
            needed.update(id(value) for value in node.inputs)
    return Graph(graph.inputs, tuple(reversed(kept)), graph.outputs)


def readers(graph: Graph) -> dict[int, int]:
    """How often each value is read, by `id(value)`; an output of the graph counts as a reader."""
    counts: dict[int, int] = {}
    for value in [value for node in graph.nodes for value in node.inputs] + graph.output_values():
        counts[id(value)] = counts.get(id(value), 0) + 1
    return counts
