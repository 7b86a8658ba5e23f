"""A model as bytes: protobuf for what is small, tensors streamed from where they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnx import GraphProto, ModelProto, TensorProto

from app.engine.formats.onnx.wire import fields, header
from app.engine.formats.storage_writer import storage_chunks
from app.engine.ir.tensors import StoredTensor
from app.errors import TooLarge

_MODEL_GRAPH, _GRAPH_INITIALIZER, _RAW_DATA = 7, 5, 9
_MAX_BYTES: Final = (1 << 31) - 1  # of one protobuf message


@dataclass(frozen=True, slots=True)
class Initializer:
    """A tensor to be written: the message, and its data where that is not in the message."""

    head: TensorProto
    data: StoredTensor | None = None

    @property
    def prefix(self) -> bytes:
        """The message up to the data."""
        head: bytes = self.head.SerializeToString(deterministic=True)
        return head if self.data is None else head + header(_RAW_DATA, self.data.nbytes)

    @property
    def nbytes(self) -> int:
        return len(self.prefix) + (0 if self.data is None else self.data.nbytes)

    def chunks(self) -> Iterator[memoryview]:
        """The data that is not in the message."""
        return iter(()) if self.data is None else storage_chunks(self.data.storage)


def write_model(model: ModelProto, initializers: Sequence[Initializer], target: Path) -> None:
    """The model with these initializers in the place of its own."""
    _, chunks = laid_out(model, initializers)
    with target.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)


def laid_out(model: ModelProto, initializers: Sequence[Initializer]) -> tuple[int, Iterator[bytes | memoryview]]:
    """How many bytes the model has with these initializers in the place of its own, and the bytes in pieces."""
    rest = ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    graph.ClearField("initializer")
    before, after = _around(graph.SerializeToString(deterministic=True), _GRAPH_INITIALIZER)
    tensors = sum(len(header(_GRAPH_INITIALIZER, one.nbytes)) + one.nbytes for one in initializers)
    head, tail = _around(rest.SerializeToString(deterministic=True), _MODEL_GRAPH)
    size = len(before) + tensors + len(after)
    first, last = head + header(_MODEL_GRAPH, size) + before, after + tail
    whole = len(first) + tensors + len(last)
    _check_size(whole)
    return whole, _pieces(first, initializers, last)


def _pieces(first: bytes, initializers: Sequence[Initializer], last: bytes) -> Iterator[bytes | memoryview]:
    yield first
    for one in initializers:
        yield header(_GRAPH_INITIALIZER, one.nbytes) + one.prefix
        yield from one.chunks()
    yield last


def _around(message: bytes, number: int) -> tuple[bytes, bytes]:
    """The fields before and behind one, in the order of their numbers, as protobuf writes them."""
    at = next((part.start for part in fields(message, 0, len(message)) if part.number > number), len(message))
    return message[:at], message[at:]


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise TooLarge(
            f"the fused ONNX model has {size:,} bytes, one protobuf message holds {_MAX_BYTES:,}",
            remedy="Save it with external data and upload model and data in one archive made with zip -0, "
            "or export it in a smaller dtype.",
            value=size,
            limit=_MAX_BYTES,
        )
