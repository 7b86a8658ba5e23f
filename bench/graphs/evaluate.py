"""Runs a float64 model: onnx's reference evaluator, with what is slow or inexact there computed by torch.

onnxruntime has no double kernel for a convolution. The operators that only onnxruntime writes are here too, by their
definition, so that its results are measured like any other.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bench.graphs.operators import MICROSOFT, STANDARD, Operator, as_tensor

Array = np.ndarray[Any, Any]


def evaluate(model: ModelProto, x: Array) -> list[Array]:
    """The outputs of a model with one input."""
    operators: Any = [_operator("", *named) for named in STANDARD.items()]
    operators += [_operator("com.microsoft", *named) for named in MICROSOFT.items()]
    outputs: Any = ReferenceEvaluator(model, new_ops=operators).run(None, {model.graph.input[0].name: x})
    return list(outputs)


def _operator(domain: str, name: str, compute: Operator) -> type[OpRun]:
    """A function of tensors and attributes as a class that the evaluator takes."""

    def _run(self: Any, *inputs: Any, **_: Any) -> tuple[Any, ...]:
        attributes = {a.name: helper.get_attribute_value(a) for a in self.onnx_node.attribute}
        result = compute([as_tensor(x) for x in inputs], attributes)
        outputs = len([output for output in self.onnx_node.output if output])
        return (result.numpy(), *(np.zeros(0) for _ in range(outputs - 1)))

    return type(name, (OpRun,), {"op_domain": domain, "_run": _run})
