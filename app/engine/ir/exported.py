"""A torch.export program as a value: its graph, signature and weights, as the file says them. Nothing is looked up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from app.engine.ir.symbolic import Size
from app.engine.ir.tensors import StoredTensor


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor of the graph by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class SymbolRef:
    """A number of the graph (a size, most often) by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph that an operator takes as an argument."""

    name: str
    graph: "ExportedGraph"


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """Where a tensor is to lie; the run's own device counts instead."""

    kind: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """An argument of a kind that no operator that is read takes."""

    kind: str


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """What the file says of a tensor before anything is run."""

    dtype: torch.dtype | None  # None: of a kind that this torch does not have
    sizes: tuple[Size, ...]
    strides: tuple[Size, ...]
    offset: Size


@dataclass(frozen=True, slots=True)
class NamedArgument:
    """An argument: a plain value, a list, or one of the references above."""

    name: str  # as the operator's schema has it; empty for operators without one
    value: Any


@dataclass(frozen=True, slots=True)
class Operator:
    """One node. `outputs` holds None for what it puts out without a name."""

    target: str
    arguments: tuple[NamedArgument, ...]
    outputs: tuple[TensorRef | SymbolRef | None, ...]
    name: str  # of its first output where it has one

    @property
    def owner(self) -> str:
        """The name by which the rest of the engine knows this operator."""
        return next((output.name for output in self.outputs if output is not None), self.name)

    def reads(self) -> "Iterator[TensorRef | SymbolRef]":
        """Every reference among the arguments, in order."""
        return references([argument.value for argument in self.arguments])


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """Nodes in the order in which they run, and what is known of each tensor and number."""

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    nodes: tuple[Operator, ...]
    tensors: Mapping[str, TensorMeta]
    symbols: Mapping[str, Size | None]  # integers of the graph; None for floats, truths and what is not understood


InputKind = Literal["user", "parameter", "buffer", "constant", "number"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What stands behind an input of the graph. `target` is the path of a parameter, buffer or constant."""

    kind: InputKind
    value: Any  # TensorRef, SymbolRef, or the plain value of an input that is fixed
    target: str = ""


OutputKind = Literal["user", "buffer_mutation", "input_mutation", "other"]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What becomes of an output of the graph."""

    kind: OutputKind
    value: Any
    target: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """The program of a file."""

    graph: ExportedGraph
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    stored: Mapping[str, StoredTensor]  # by path: parameters, buffers and constants
    functional: bool  # no operator changes its arguments: what torch verifies of decomposed programs
    held: frozenset[str]  # names that something beside the graph refers to
    ranges: Mapping[str, tuple[int, int]]  # smallest and largest size, by symbol
    hints: Mapping[str, int]  # by symbol: the size at which the program was exported


def references(value: Any) -> Iterator[TensorRef | SymbolRef]:
    """Every reference within an argument, in order."""
    if isinstance(value, (TensorRef, SymbolRef)):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from references(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from references(part)
