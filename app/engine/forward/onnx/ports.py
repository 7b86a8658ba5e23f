"""The inputs that a graph file declares."""

from typing import Final

from onnx import ModelProto, ValueInfoProto

from app.engine.ir.onnx_dtypes import torch_dtype
from app.engine.ir.program import Port

DEFAULTS_SINCE: Final = 4  # of ir_version


def ports(model: ModelProto) -> tuple[Port, ...]:
    """The true inputs in order: no initializers, and no sequences or strings, which no tensor can hold."""
    given = {tensor.name for tensor in model.graph.initializer}
    given |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    declared = [value for value in model.graph.input if value.name not in given]
    return tuple(port for port in map(_port, declared) if port is not None)


def defaults(model: ModelProto) -> tuple[str, ...]:
    """Initializers that are inputs as well, in the order of the inputs: a caller may override them.

    Before ir_version 4 every initializer had to be an input, which said nothing.
    """
    if model.ir_version < DEFAULTS_SINCE:
        return ()
    given = {tensor.name for tensor in model.graph.initializer}
    given |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return tuple(value.name for value in model.graph.input if value.name in given)


def _port(value: ValueInfoProto) -> Port | None:
    tensor = value.type.tensor_type
    dtype = torch_dtype(tensor.elem_type) if value.type.HasField("tensor_type") else None
    if dtype is None:
        return None
    if not tensor.HasField("shape"):
        return Port(value.name, dtype, None)
    return Port(value.name, dtype, tuple(_dim(dim) for dim in tensor.shape.dim))


def _dim(dim: object) -> int | str | None:
    """A size; a name or None for one that may differ, for which some exporters write 0 or -1."""
    size, name = int(getattr(dim, "dim_value", 0)), str(getattr(dim, "dim_param", ""))
    return size if size > 0 else name or None
