"""Which sizes of a graph's tensors are known without running it, by onnx's shape inference."""

from collections.abc import Container, Iterable, Mapping
from typing import Final

from onnx import GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto, shape_inference

from app.engine.forward.onnx.call import Dims
from app.engine.forward.onnx.inner import inner_graphs

_NAMED: Final = "ai.onnx"


def in_default_domain(model: ModelProto) -> ModelProto:
    """The model with the default domain by its empty name: the inference does not know its other name."""
    if not any(opset.domain == _NAMED for opset in model.opset_import) and not _named(model.graph):
        return model
    copy = _copy(model)
    for opset in copy.opset_import:
        opset.domain = "" if opset.domain == _NAMED else opset.domain
    _unname(copy.graph)
    return copy


def _named(graph: GraphProto) -> bool:
    return any(node.domain == _NAMED or any(map(_named, inner_graphs(node))) for node in graph.node)


def _unname(graph: GraphProto) -> None:
    for node in graph.node:
        node.domain = "" if node.domain == _NAMED else node.domain
        for inner in inner_graphs(node):
            _unname(inner)


def static_dims(model: ModelProto, defaults: Container[str] = ()) -> dict[str, Dims]:
    """Sizes that hold for every input that the file allows, by the declared inputs alone.

    What the file claims of other tensors is not proven, so it is taken away first; and so are the numbers of
    `defaults`, which a caller may override.
    """
    bare = _copy(model)
    fixed = [tensor for tensor in bare.graph.initializer if tensor.name not in defaults]
    if len(fixed) < len(bare.graph.initializer):
        copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in fixed]
        bare.graph.ClearField("initializer")
        bare.graph.initializer.extend(copies)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    for declared in bare.graph.input:
        _free_unknown(declared.type)
    return _inferred(bare)


def traced_dims(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Dims]:
    """Sizes for these input shapes, with what the file says of operators that the inference does not know."""
    fixed = _copy(model)
    for declared in fixed.graph.input:
        if declared.name in shapes and declared.type.HasField("tensor_type"):
            shape = declared.type.tensor_type.shape
            shape.ClearField("dim")
            for size in shapes[declared.name]:
                shape.dim.add().dim_value = size
    _settle(fixed, _named_sizes(model, shapes))
    return _inferred(fixed)


def _named_sizes(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """What the names of sizes stand for, by the inputs that have them."""
    sizes: dict[str, int] = {}
    for declared in model.graph.input:
        dims = zip(declared.type.tensor_type.shape.dim, shapes.get(declared.name, ()), strict=False)
        sizes.update({dim.dim_param: size for dim, size in dims if dim.dim_param})
    return sizes


def _settle(model: ModelProto, sizes: Mapping[str, int]) -> None:
    """Put sizes for their names in what the file says of values."""
    for value in (*model.graph.value_info, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]


def declared_types(model: ModelProto) -> dict[str, int]:
    """Element types by name, as far as file and inference tell."""
    inferred = _infer(model)
    return {value.name: value.type.tensor_type.elem_type for value in _values(inferred)}


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _free_unknown(kind: TypeProto) -> None:
    """Some exporters write 0 or -1 for a size that may differ."""
    for dim in kind.tensor_type.shape.dim if kind.HasField("tensor_type") else ():
        if dim.HasField("dim_value") and dim.dim_value < 1:
            dim.ClearField("value")


def _infer(model: ModelProto) -> ModelProto:
    """The model with what can be inferred; as it is where it contradicts itself."""
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return model


def _inferred(model: ModelProto) -> dict[str, Dims]:
    found = {value.name: _dims(value) for value in _values(_infer(model))}
    return {name: dims for name, dims in found.items() if dims is not None}


def _values(model: ModelProto) -> Iterable[ValueInfoProto]:
    return [*model.graph.input, *model.graph.value_info, *model.graph.output]


def _dims(value: ValueInfoProto) -> Dims | None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
