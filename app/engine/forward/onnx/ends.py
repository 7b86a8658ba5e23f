"""Which values a graph that was followed must give: all else that nobody reads is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.ir.alike import Alike
from app.engine.ir.graph import Apply, Graph, Node, Value, live


@dataclass(frozen=True, slots=True)
class Ends:
    """The file's outputs, what operators that are not read take in, and what operators want to know the sizes of."""

    outputs: list[Value]
    ended: list[Value]
    measured: list[Value]


def live_graph(inputs: tuple[Value, ...], nodes: Sequence[Node], ends: Ends) -> Graph:
    """The live graph. A value whose sizes are asked for is kept, unless another that stays has the same."""
    graph = live(Graph(inputs, tuple(nodes), (ends.outputs, _once(ends.ended))))
    alike = Alike(graph)
    inside = {id(node.output) for node in graph.nodes} | {id(value) for value in inputs}
    given = {id(value) for value in graph.output_values()}

    def stays(value: Value) -> bool:
        """Only what plain operations read and give can be within a region."""
        near = (value.node, *alike.readers(value))
        bound = value.node is None or any(isinstance(node.operation, Apply) for node in near if node)
        return id(value) in inside and (bound or id(value) in given)

    alone = [value for value in ends.measured if not any(map(stays, alike.of(value)))]
    ended = _once(ends.ended)
    given = {id(value) for value in (*ends.outputs, *ended)}
    asked = [value for value in _once(alone) if id(value) not in given]
    return live(Graph(inputs, tuple(nodes), (ends.outputs, ended, asked)))


def _once(values: Sequence[Value]) -> list[Value]:
    return list({id(value): value for value in values}.values())
