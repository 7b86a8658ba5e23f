"""Both models as graphs, run step by step by torch as a model's own code would run them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from app.engine.interpret.numeric import evaluate, outputs_of
from app.engine.ir.graph import Const, Graph, Node, Value, readers
from app.engine.latency.contest import Contest, Pair
from app.engine.verify.compare import tensors
from app.engine.verify.probes import typed_probe


@dataclass(frozen=True, slots=True)
class Both:
    """The two graphs, and the inputs for which they were followed; `batch` where they are to be run at another."""

    before: Graph
    after: Graph
    batch: int | None = None


def of_graphs(found: Callable[[int], Both | None], dtype: torch.dtype | None, name: str, device: str) -> Contest:
    """A contest between graphs; without a dtype each operation is done as the graph declares it."""

    def at(batch: int) -> Pair | None:
        both = found(batch)
        return None if both is None else _pair(both, dtype, device)

    return Contest(f"torch {torch.__version__}", name, at)


def _pair(both: Both, dtype: torch.dtype | None, device: str) -> Pair | None:
    shapes = tuple(value.shape for value in both.before.inputs)
    grown = 1.0
    if both.batch is not None:
        grown = both.batch / next((shape[0] for shape in shapes if shape), 1)
        shapes = tuple((both.batch, *shape[1:]) if shape else shape for shape in shapes)
    inputs = typed_probe([(shape, value.dtype) for shape, value in zip(shapes, both.before.inputs, strict=True)])
    runs = [Runner.of(graph, inputs, dtype, device) for graph in (both.before, both.after)]
    if both.batch is not None and not all(_takes(one, both.batch) for one in runs):
        return None
    return Pair(
        runs[0], runs[1], shapes, int(grown * max(peak_bytes(both.before, dtype), peak_bytes(both.after, dtype)))
    )


def _takes(runner: "Runner", batch: int) -> bool:
    """Whether a graph that was followed at another batch size computes each output of this one."""
    try:
        return all(found.ndim and found.shape[0] == batch for found in tensors(runner()))
    except (RuntimeError, IndexError, ValueError):  # a size of the other batch stands in one of its operators
        return False


def peak_bytes(graph: Graph, dtype: torch.dtype | None) -> int:
    """Bytes of all values that are held at once, where that is most."""
    left, live, most = readers(graph), sum(_bytes(value, dtype) for value in graph.inputs), 0
    for node in graph.nodes:
        live += _bytes(node.output, dtype)
        most = max(most, live)
        for value in node.inputs:
            left[id(value)] -= 1
            live -= _bytes(value, dtype) if left[id(value)] == 0 else 0
    return most


def _bytes(value: Value, dtype: torch.dtype | None) -> int:
    return prod(value.shape) * (dtype or value.dtype).itemsize


@dataclass(frozen=True, slots=True)
class _Step:
    node: Node
    reads: tuple[int, ...]
    last: tuple[int, ...]  # the values that nobody reads after this


@dataclass(frozen=True, slots=True)
class Runner:
    """A graph with its constants at hand: what is left to do is what a loaded model does when it is called."""

    graph: Graph
    steps: tuple[_Step, ...]
    inputs: dict[int, Tensor]
    constants: dict[int, Tensor]
    dtype: torch.dtype | None
    device: str

    @classmethod
    def of(cls, graph: Graph, inputs: Sequence[Tensor], dtype: torch.dtype | None, device: str) -> "Runner":
        given = {
            id(value): tensor.to(device, (dtype or value.dtype) if tensor.is_floating_point() else None)
            for value, tensor in zip(graph.inputs, inputs, strict=True)
        }
        consts = {id(const): const for node in graph.nodes for const in node.consts() if not const.made}
        held = {key: const.value(dtype, device) for key, const in consts.items()}
        return cls(graph, tuple(_steps(graph)), given, held, dtype, device)

    def __call__(self) -> Any:
        values = dict(self.inputs)
        with torch.inference_mode():
            for step in self.steps:
                values[id(step.node.output)] = evaluate(step.node, [values[one] for one in step.reads], self._read)
                for one in step.last:
                    values.pop(one, None)
        return outputs_of(self.graph, values)

    def _read(self, const: Const) -> Tensor:
        """What the model's own code computes anew with each call is computed anew here, too."""
        found = self.constants.get(id(const))
        return const.value(self.dtype, self.device) if found is None else found


def _steps(graph: Graph) -> list[_Step]:
    left = readers(graph)
    steps = []
    for node in graph.nodes:
        reads = tuple(id(value) for value in node.inputs)
        last = []
        for one in reads:
            left[one] -= 1
            if left[one] == 0:
                last.append(one)
        steps.append(_Step(node, reads, tuple(last)))
    return steps
