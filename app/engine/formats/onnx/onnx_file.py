"""An ONNX model that was read: the graph as protobuf, large tensors still in the file."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto

from app.engine.ir.tensors import StoredTensor


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A model without functions of its own.

    `model` has the operators, names and shapes. The data of large tensors is left out of it: `tensors` has every
    initializer and Constant of the main graph by name (but strings and packed elements, which torch can't hold).
    A writer fills in what is left out of a message by that name.
    """

    model: ModelProto
    tensors: Mapping[str, StoredTensor]
    format: str = "onnx"
    globals: tuple[str, ...] = ()
