"""The model without its large tensors: their bytes stay in the file, the rest is small enough to be parsed.

Left out are `raw_data`, and `float_data` and `double_data` where they are packed (the same bytes), of initializers and
of Constant operators of the main graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx.wire import BYTES, Field, damaged, fields, header

KEPT_BYTES: Final = 1 << 14  # tensors up to here stay in the model: shapes are read from them
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER = 7, 1, 5
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 4, 5, 5
_DATA: Final = frozenset({4, 9, 10})  # of a tensor: float_data, raw_data, double_data


@dataclass(frozen=True, slots=True)
class Skeleton:
    """`content` is a ModelProto. The data left out, by the position of the initializer or operator that it is for."""

    content: bytes
    initializers: dict[int, FileBytes] = field(default_factory=dict)
    constants: dict[int, FileBytes] = field(default_factory=dict)


def read_skeleton(model: FileBytes, limits: Limits) -> Skeleton:
    """The model's bytes without large data."""
    parts: list[Field] = []
    for part in fields(model.file.map, model.offset, model.offset + model.nbytes):
        check_limit("fields of the ONNX model", len(parts) + 1, limits.max_graph_fields)
        parts.append(part)
    graphs = [part for part in parts if part.number == _MODEL_GRAPH]
    if len(graphs) != 1 or graphs[0].kind != BYTES:
        raise damaged(f"it has {len(graphs)} graphs")
    builder = _Builder(model.file, limits)
    pieces = [builder.graph(part) if part in graphs else builder.copy(part) for part in parts]
    return Skeleton(b"".join(pieces), builder.initializers, builder.constants)


class _Builder:
    """Copies piece by piece, and counts what it copies."""

    def __init__(self, file: MappedFile, limits: Limits) -> None:
        self._file, self._limits, self._copied = file, limits, 0
        self.initializers: dict[int, FileBytes] = {}
        self.constants: dict[int, FileBytes] = {}

    def copy(self, part: Field) -> bytes:
        self._copied += part.end - part.start
        check_limit("bytes of the ONNX model beside its tensors", self._copied, self._limits.max_graph_bytes)
        return self._file.read(part.start, part.end - part.start)

    def graph(self, graph: Field) -> bytes:
        """The graph, large initializers and Constants without their data."""
        pieces: list[bytes] = []
        counts = {_GRAPH_NODE: 0, _GRAPH_INITIALIZER: 0}
        for part in self._parts(graph):
            if len(pieces) >= self._limits.max_graph_fields:
                check_limit("fields of the ONNX model", len(pieces) + 1, self._limits.max_graph_fields)
            if part.kind == BYTES and part.number in counts:
                position = counts[part.number]
                counts[part.number] += 1
                check_limit("operators and tensors of the ONNX graph", position + 1, self._limits.max_graph_nodes)
                thin = self._node if part.number == _GRAPH_NODE else self._initializer
                pieces.append(thin(part, position) if _large(part) else self.copy(part))
            else:
                pieces.append(self.copy(part))
        return _wrapped(_MODEL_GRAPH, pieces)

    def _initializer(self, tensor: Field, position: int) -> bytes:
        data = self._data_of(tensor)
        if data is None:
            return self.copy(tensor)
        self.initializers[position] = FileBytes(self._file, data.content, data.end - data.content)
        return self._without((tensor,), data)

    def _node(self, node: Field, position: int) -> bytes:
        """A Constant with one attribute that is one tensor."""
        operators = [
            self._file.read(part.content, part.end - part.content) for part in self._parts(node, _NODE_OP_TYPE)
        ]
        attributes = list(self._parts(node, _NODE_ATTRIBUTE))
        tensors = [part for attribute in attributes for part in self._parts(attribute, _ATTRIBUTE_TENSOR)]
        alone = operators == [b"Constant"] and len(attributes) == len(tensors) == 1
        data = self._data_of(tensors[0]) if alone else None
        if data is None:
            return self.copy(node)
        self.constants[position] = FileBytes(self._file, data.content, data.end - data.content)
        return self._without((node, attributes[0], tensors[0]), data)

    def _data_of(self, tensor: Field) -> Field | None:
        """The one large data field; a tensor with several is kept whole, and refused later."""
        data = [part for part in self._parts(tensor) if part.number in _DATA]
        return data[0] if len(data) == 1 and data[0].kind == BYTES and _large(data[0]) else None

    def _without(self, way: tuple[Field, ...], data: Field) -> bytes:
        """The outermost message of the way, with what lies at its end left out."""
        inner = way[1] if len(way) > 1 else data
        pieces = []
        for part in self._parts(way[0]):
            if part != inner:
                pieces.append(self.copy(part))
            elif len(way) > 1:
                pieces.append(self._without(way[1:], data))
        return _wrapped(way[0].number, pieces)

    def _parts(self, message: Field, number: int | None = None) -> Iterator[Field]:
        parts = fields(self._file.map, message.content, message.end)
        return parts if number is None else (part for part in parts if part.number == number and part.kind == BYTES)


def _large(part: Field) -> bool:
    return part.end - part.content > KEPT_BYTES


def _wrapped(number: int, pieces: list[bytes]) -> bytes:
    return b"".join((header(number, sum(map(len, pieces))), *pieces))
