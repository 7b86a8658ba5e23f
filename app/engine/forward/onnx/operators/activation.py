"""Element-wise functions of one tensor, and softmax."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Tensors, plain
from app.engine.forward.onnx.operators.passages import homogeneous

_SELU_ALPHA: Final = 1.67326319217681884765625
_SELU_GAMMA: Final = 1.05070102214813232421875


def _with(function: Callable[..., Tensor], **defaults: float) -> Operator:
    """An activation of the tensor and the attributes named, in this order."""

    def tensors(call: Call) -> Tensors:
        numbers = [call.attribute(name, default) for name, default in defaults.items()]
        return Tensors(function, (call.need(0), *numbers))

    return Operator(tensors, elementwise=True)


def _elu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x))


def _celu(x: Tensor, alpha: float) -> Tensor:
    return torch.clamp(x, min=0) + torch.clamp(alpha * torch.expm1(x / alpha), max=0)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


def _hard_swish(x: Tensor) -> Tensor:
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


def _shrink(x: Tensor, bias: float, threshold: float) -> Tensor:
    return torch.where(x < -threshold, x + bias, torch.where(x > threshold, x - bias, torch.zeros_like(x)))


def _swish(x: Tensor, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def _relu_above(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


def _leaky(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x < 0, x * alpha, x)


def _gelu(call: Call) -> Tensors:
    return Tensors(partial(F.gelu, approximate=call.attribute("approximate", "none")), call.inputs)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _clip(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Below first, then above: where the bounds cross the upper one wins."""
    above = x if low is None else torch.maximum(x, low.to(x.dtype))
    return above if high is None else torch.minimum(above, high.to(x.dtype))


def _softmax(function: Callable[..., Tensor]) -> Operator:
    """From opset 13 over one dimension, before over all from `axis` on."""

    def tensors(call: Call) -> Tensors:
        rank = len(call.shape(0))
        axis = call.axis(call.attribute("axis", -1 if call.opset >= 13 else 1), rank)
        if call.opset >= 13:
            return Tensors(partial(function, dim=axis), call.inputs)
        return Tensors(lambda x: function(x.flatten(axis), dim=axis).reshape(x.shape), call.inputs)

    return Operator(tensors, elementwise=True)


def _is_inf(call: Call) -> Tensors:
    negative, positive = call.attribute("detect_negative", 1), call.attribute("detect_positive", 1)

    def run(x: Tensor) -> Tensor:
        return torch.isinf(x) & (((x < 0) & bool(negative)) | ((x > 0) & bool(positive)))

    return Tensors(run, call.inputs)


_PLAIN: Final[dict[str, Callable[..., Tensor]]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": _hard_swish,
    "Log": torch.log,
    "Mish": F.mish,
    "PRelu": _prelu,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": _softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Clip": _clip,
}

OPERATORS: Final[dict[str, Operator]] = {
    **{name: plain(function, elementwise=True) for name, function in _PLAIN.items()},
    **{name: homogeneous(plain(_PLAIN[name], elementwise=True)) for name in ("Abs", "PRelu", "Relu")},
    "Celu": _with(_celu, alpha=1.0),
    "Elu": _with(_elu, alpha=1.0),
    "Gelu": Operator(_gelu, elementwise=True),
    "HardSigmoid": _with(_hard_sigmoid, alpha=0.2, beta=0.5),
    "IsInf": Operator(_is_inf),
    "LeakyRelu": homogeneous(_with(_leaky, alpha=0.01)),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Selu": _with(_selu, alpha=_SELU_ALPHA, gamma=_SELU_GAMMA),
    "Shrink": _with(_shrink, bias=0.0, lambd=0.5),
    "Softmax": _softmax(torch.softmax),
    "Swish": _with(_swish, alpha=1.0),
    "ThresholdedRelu": _with(_relu_above, alpha=1.0),
}
