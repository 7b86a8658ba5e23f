"""Names that nothing else in the file has."""

from collections.abc import Iterator

from onnx import GraphProto, ModelProto


class Names:
    """Gives each name once."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._counts: dict[str, int] = {}

    def claim(self, name: str) -> None:
        """The name is given elsewhere."""
        self._taken.add(name)

    def fresh(self, wanted: str) -> str:
        """The name wanted if it is free, else one like it."""
        name = wanted
        while not name or name in self._taken:
            count = self._counts[wanted] = self._counts.get(wanted, 0) + 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


def all_names(model: ModelProto) -> set[str]:
    """Every name of a value in the model, inner graphs included."""
    return set(_names(model.graph))


def _names(graph: GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    yield from (value.name for value in graph.input)
    for node in graph.node:
        yield from node.output
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _names(inner)
