"""An ONNX model that was read: the graph as protobuf, large tensors still in the file."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto

from app.engine.ir.tensors import StoredTensor


@dataclass(frozen=True, slots=True)
class Package:
    """How a model lay in its archive."""

    model: str  # its entry
    folder: str  # that all entries are in, with its slash; empty where they are in none
    location: str | None  # the first data file as the model names it; None where there is none


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
    package: Package | None = None  # of a model that came in an archive
    reserved: frozenset[str] = frozenset()  # names that mean something around this graph
