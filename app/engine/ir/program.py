"""A graph file (ONNX, .pt2) in the small SSA form, and where each part of it stands in the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from app.engine.ir.graph import Const, Graph, Value


@dataclass(frozen=True, slots=True)
class Port:
    """An input of the file. A dimension is a size, the name of one that may differ, or None for one without a name."""

    name: str
    dtype: torch.dtype
    dims: tuple[int | str | None, ...] | None  # None: not even the number of dimensions is in the file


@dataclass(frozen=True, slots=True)
class Skipped:
    """An operator that is not read, with a stable code and a sentence for the report."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inner:
    """A graph within an operator: what the operator reads, and what the graph reads of the one around it."""

    owner: str
    position: int  # among the graphs of that operator
    inputs: tuple[Value | Const | None, ...]
    captured: Mapping[str, Value | Const]


@dataclass(frozen=True, slots=True)
class Body:
    """A graph within an operator as a file of its own. It alone reads `own`, constants of the graph around it."""

    path: str
    file: Any
    shapes: Mapping[str, tuple[int, ...]]
    own: frozenset[str]


@dataclass(frozen=True, slots=True)
class Program:
    """What a graph file computes from inputs of certain shapes.

    `graph.inputs` are the file's own inputs, then what operators that are not read put out, as far as its shape is
    known. `graph.outputs` are lists: the file's outputs that could be followed, the values which operators that are not
    read take in, and those of which nothing but their sizes is asked. So what lies before and behind such an operator
    is still fused and proved.

    What the file computes from constants alone is in no node: `constants` has it by name. Nor is an operator that
    changes nothing: `aliases` says whose value its output is. `targets` has, by owner, the sizes
    that a reshape makes of every input, -1 for the one that follows from the others, where the file computes them.
    `dims` has the sizes, by name, that hold for every input that the file allows, None for one that may differ.

    Each node's `owner` names the operator of the file that it comes from. One operator may be several nodes (a layer
    norm and its scale and shift): a region takes all of them or none, but for those in `partial`.

    `measured` are the values, by id, of which operators of the file ask the sizes.

    `defaults` are constants that a caller may override: nothing is made of them, and they stay what they are.
    `withheld` are the operators that would be linear if those were fixed.
    """

    graph: Graph
    inputs: tuple[str, ...]  # names of the file's inputs, in order
    outputs: tuple[str, ...]  # names of the file's outputs that could be followed, in order
    names: Mapping[int, str]  # the file's name of a value, by id(value), where it has one
    partial: frozenset[str] = frozenset()
    skipped: tuple[Skipped, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Const] = field(default_factory=dict)
    targets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()
    inner: tuple[Inner, ...] = ()
    defaults: tuple[str, ...] = ()
    withheld: tuple[Skipped, ...] = ()
    dims: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    @property
    def own_inputs(self) -> tuple[Value, ...]:
        return self.graph.inputs[: len(self.inputs)]


def told(graph: Graph) -> Graph:
    """A program's graph with the outputs that are compared: no number is read of what is asked for its sizes alone.

    Its nodes stay all the same. In another file of the same computation such sizes may stand as they are.
    """
    return replace(graph, outputs=graph.outputs[:2])
