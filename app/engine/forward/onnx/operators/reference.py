"""Operators that nothing here describes are run by onnx's own reference implementation, on numpy arrays."""

from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.emitter import first_line
from app.engine.forward.onnx.operator import Tensors
from app.engine.ir.onnx_dtypes import elem_type
from app.errors import UnsupportedContent

_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
_DTYPE_ATTRIBUTES: Final = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def by_reference(call: Call) -> Tensors:
    """The operator as onnx.reference computes it, inner graphs included."""
    present = [(name, known) for name, known in zip(call.node.input, call.inputs, strict=False) if known is not None]
    captured = {name: known for name, known in call.captured if name not in dict(present)}
    names = tuple(dict.fromkeys((*(name for name, _ in present), *captured)))
    known = dict(present) | captured
    args = tuple(known[name] for name in names)
    native = tuple(call.ops.dtype(arg) for arg in args)
    run = _Run(call.node, names, native, call.opset)
    many = call.outputs > 1
    return Tensors(run.all if many else run.first, args, many, foreign=True)


class _Run:
    """A one-node model. Run in another dtype than the file's, what the node holds is in that dtype, too."""

    def __init__(self, node: NodeProto, names: tuple[str, ...], native: tuple[torch.dtype, ...], opset: int) -> None:
        self._node, self._names, self._native, self._opset = node, names, native, opset
        self._evaluators: dict[torch.dtype | None, Any] = {}

    def first(self, *tensors: Tensor) -> Tensor:
        return self.all(*tensors)[0]

    def all(self, *tensors: Tensor) -> list[Tensor]:
        other = (t.dtype for t, own in zip(tensors, self._native, strict=True) if t.dtype != own)
        evaluator = self._evaluator(next(other, None))
        feeds = {name: tensor.detach().cpu().numpy() for name, tensor in zip(self._names, tensors, strict=True)}
        with np.errstate(all="ignore"):
            results = self._results(evaluator, feeds)
        device = tensors[0].device if tensors else None
        if not all(isinstance(result, (np.ndarray, np.generic)) for result in results):
            raise TypeError("an output is not a tensor")
        given = iter([torch.from_numpy(np.array(result)).to(device) for result in results])
        return [next(given) if name else torch.empty(0) for name in self._node.output]

    def _results(self, evaluator: Any, feeds: dict[str, Any]) -> Any:
        """A branch that was not taken when the operator was tried may be one that can't run."""
        try:
            return evaluator.run(None, feeds)
        except Exception as error:  # the implementation fails in whatever way it likes
            raise UnsupportedContent(
                f"the ONNX operator {self._node.op_type} {self._node.name!r} can't be run: {first_line(error)}",
                remedy="Check the model with onnx.checker and export it again.",
            ) from error

    def _evaluator(self, dtype: torch.dtype | None) -> Any:
        """The node's evaluator for a run in `dtype`; None for a run in the file's own dtypes."""
        if dtype not in self._evaluators:
            node = self._node if dtype is None else _in_dtype(self._node, elem_type(dtype))
            self._evaluators[dtype] = ReferenceEvaluator(_model(node, self._names, self._opset))
        return self._evaluators[dtype]


def _model(node: NodeProto, names: tuple[str, ...], opset: int) -> onnx.ModelProto:
    inputs = [onnx.ValueInfoProto(name=name) for name in names]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "one", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])


def _in_dtype(node: NodeProto, target: int) -> NodeProto:
    """A copy in which every floating-point type is `target`."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _retype(copy, target)
    return copy


def _retype(node: NodeProto, target: int) -> None:
    for attribute in node.attribute:
        if attribute.name in _DTYPE_ATTRIBUTES and attribute.i in _FLOATS:
            attribute.i = target
        if attribute.type == AttributeProto.TENSOR:
            _retype_tensor(attribute.t, target)
        for graph in (attribute.g, *attribute.graphs):
            for tensor in graph.initializer:
                _retype_tensor(tensor, target)
            for inner in graph.node:
                _retype(inner, target)


def _retype_tensor(tensor: TensorProto, target: int) -> None:
    if tensor.data_type in _FLOATS:
        wide = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(target))
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
