"""What operators read of one another: directly, and within the graphs that some have inside (If, Loop, Scan)."""

from collections.abc import Container, Iterator

from onnx import GraphProto, NodeProto


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that an operator has as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def captured(node: NodeProto) -> tuple[str, ...]:
    """Names that the inner graphs read and do not define, each once."""
    return tuple(dict.fromkeys(name for graph in inner_graphs(node) for name in free(graph)))


def needed(graph: GraphProto, sized: Container[str] = (), settled: Container[str] = ()) -> list[NodeProto]:
    """The operators that the graph's outputs depend on, in order.

    Those with an output in `sized` read one input; what is `settled` is known, whoever gives it.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    waiting = [value.name for value in graph.output]
    names: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in names or name not in producer or name in settled:
            continue
        names.update(producer[name].output)
        read = producer[name].input
        waiting.extend((*(read[:1] if name in sized else read), *captured(producer[name])))
    return [node for node in graph.node if not names.isdisjoint(node.output)]


def free(graph: GraphProto) -> Iterator[str]:
    """Names that a graph reads and does not define."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        yield from (name for name in (*node.input, *captured(node)) if name and name not in own)
        own.update(node.output)
    yield from (value.name for value in graph.output if value.name not in own)
