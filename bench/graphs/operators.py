"""ONNX operators as functions of torch tensors and attributes, in the dtype of their inputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Inputs = list[Any]  # tensors; None where an optional one is left out
Attributes = dict[str, Any]
Operator = Callable[[Inputs, Attributes], Tensor]

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def as_tensor(x: Any) -> Tensor | None:
    return None if x is None else torch.from_numpy(np.array(x))


def _get(inputs: Inputs, index: int) -> Any:
    return inputs[index] if index < len(inputs) else None


def _pads(x: Tensor, kernel: Any, attributes: Attributes) -> list[int]:
    """All begins, then all ends, as ONNX lists them."""
    rank = x.ndim - 2
    auto_pad = attributes.get("auto_pad", b"NOTSET")
    if auto_pad in (b"NOTSET", b"VALID"):
        return list(attributes.get("pads", [0] * (2 * rank)))
    totals = []
    for axis, size in enumerate(x.shape[2:]):
        stride, dilation = _each(attributes, "strides", rank)[axis], _each(attributes, "dilations", rank)[axis]
        totals.append(max(0, (-(-size // stride) - 1) * stride + dilation * (kernel[axis] - 1) + 1 - size))
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if auto_pad == b"SAME_UPPER" else large + small


def _each(attributes: Attributes, name: str, rank: int) -> list[int]:
    return list(attributes.get(name, [1] * rank))


def _pad(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    """torch wants pairs of begin and end, the last axis first."""
    half = len(pads) // 2
    pairs = [side for axis in reversed(range(half)) for side in (pads[axis], pads[axis + half])]
    return F.pad(x, pairs, value=value) if any(pads) else x


def conv(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, weight = inputs[:2]
    rank = x.ndim - 2
    padded = _pad(x, _pads(x, weight.shape[2:], attributes))
    strides, dilations = _each(attributes, "strides", rank), _each(attributes, "dilations", rank)
    return _CONV[rank](padded, weight, _get(inputs, 2), strides, 0, dilations, attributes.get("group", 1))


def conv_transpose(inputs: Inputs, attributes: Attributes) -> Tensor:
    """Computed without padding; what `pads` takes away is cut off, `output_padding` is appended by the bias alone."""
    x, weight = inputs[:2]
    rank = x.ndim - 2
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes:
        raise NotImplementedError("ConvTranspose with auto_pad or output_shape")
    strides, dilations = _each(attributes, "strides", rank), _each(attributes, "dilations", rank)
    full = _CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, attributes.get("group", 1), dilations)
    pads = list(attributes.get("pads", [0] * (2 * rank)))
    extra = list(attributes.get("output_padding", [0] * rank))
    sides = [-pad for pad in pads[:rank]] + [more - pad for pad, more in zip(pads[rank:], extra, strict=True)]
    y = _pad(full, sides)
    bias = _get(inputs, 2)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def max_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    x, kernel = inputs[0], attributes["kernel_shape"]
    rank = len(kernel)
    padded = _pad(x, _pads(x, kernel, attributes), -torch.inf)
    strides, dilations = _each(attributes, "strides", rank), _each(attributes, "dilations", rank)
    return _MAX_POOL[rank](padded, kernel, strides, 0, dilations, bool(attributes.get("ceil_mode", 0)))


def average_pool(inputs: Inputs, attributes: Attributes) -> Tensor:
    """Sums over the padded input, divided by how many elements count."""
    x, kernel = inputs[0], attributes["kernel_shape"]
    rank = len(kernel)
    if attributes.get("ceil_mode", 0) or any(d != 1 for d in attributes.get("dilations", [])):
        raise NotImplementedError("AveragePool with ceil_mode or dilations")
    pads, strides = _pads(x, kernel, attributes), _each(attributes, "strides", rank)
    counted = torch.ones_like(x[:1, :1])
    counted = _pad(counted, pads, float(attributes.get("count_include_pad", 0)))
    pool = _AVERAGE_POOL[rank]
    return pool(_pad(x, pads), kernel, strides) / pool(counted, kernel, strides)


def resize(inputs: Inputs, attributes: Attributes) -> Tensor:
    """Nearest neighbours, axis by axis."""
    x, scales, sizes = inputs[0], _get(inputs, 2), _get(inputs, 3)
    if attributes.get("mode", b"nearest") != b"nearest" or "axes" in attributes:
        raise NotImplementedError("Resize other than nearest over all axes")
    for axis, size in enumerate(x.shape):
        scale = float(scales[axis]) if scales is not None and len(scales) else float(sizes[axis]) / size
        outputs = int(size * scale) if scales is not None and len(scales) else int(sizes[axis])
        if (outputs, scale) != (size, 1.0):
            x = x.index_select(axis, _nearest(outputs, scale, attributes).clamp(0, size - 1))
    return x


def _nearest(outputs: int, scale: float, attributes: Attributes) -> Tensor:
    steps = torch.arange(outputs, dtype=torch.float64)
    mode = attributes.get("coordinate_transformation_mode", b"half_pixel")
    if mode == b"asymmetric":
        places = steps / scale
    elif mode in (b"half_pixel", b"pytorch_half_pixel"):
        places = (steps + 0.5) / scale - 0.5
    else:
        raise NotImplementedError(f"Resize with {mode.decode()}")
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    rounded = {
        b"floor": torch.floor,
        b"ceil": torch.ceil,
        b"round_prefer_floor": lambda p: torch.ceil(p - 0.5),
        b"round_prefer_ceil": lambda p: torch.floor(p + 0.5),
    }[rounding](places)
    return rounded.long()


def batch_norm(inputs: Inputs, attributes: Attributes) -> Tensor:
    """Always by the stored statistics: below opset 14 the evaluator's own takes those of the batch."""
    if attributes.get("training_mode", 0):
        raise NotImplementedError("BatchNormalization in training mode")
    x, gamma, beta, mean, var = inputs[:5]
    return F.batch_norm(x, mean, var, gamma, beta, eps=attributes.get("epsilon", 1e-5))


def erf(inputs: Inputs, _: Attributes) -> Tensor:
    """The evaluator's own computes in float32."""
    return torch.erf(inputs[0])


def gelu(inputs: Inputs, attributes: Attributes) -> Tensor:
    tanh = attributes.get("approximate", b"none") == b"tanh"
    return F.gelu(inputs[0], approximate="tanh" if tanh else "none")


def _activated(x: Tensor, name: Any, attributes: Attributes) -> Tensor:
    slopes = attributes.get("activation_params", [])
    match name:
        case None | b"":
            return x
        case b"Relu":
            return x.relu()
        case b"Sigmoid":
            return x.sigmoid()
        case b"Tanh":
            return x.tanh()
        case b"LeakyRelu":
            return F.leaky_relu(x, slopes[0] if slopes else attributes.get("leaky_relu_alpha", 0.01))
        case b"Clip":
            return x.clamp(*slopes)
        case b"HardSigmoid":
            return (slopes[0] * x + slopes[1]).clamp(0, 1)
    raise NotImplementedError(f"activation {name}")


def fused_conv(inputs: Inputs, attributes: Attributes) -> Tensor:
    y = conv(inputs[:3], attributes)
    addend = _get(inputs, 3)
    return _activated(y if addend is None else y + addend, attributes.get("activation"), attributes)


def fused_gemm(inputs: Inputs, attributes: Attributes) -> Tensor:
    a = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    y = attributes.get("alpha", 1.0) * (a @ b)
    if _get(inputs, 2) is not None:
        y = y + attributes.get("beta", 1.0) * inputs[2]
    return _activated(y, attributes.get("activation"), attributes)


def fused_matmul(inputs: Inputs, attributes: Attributes) -> Tensor:
    if attributes.get("transBatchA", 0) or attributes.get("transBatchB", 0):
        raise NotImplementedError("FusedMatMul with transposed batch")
    a = inputs[0].transpose(-1, -2) if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].transpose(-1, -2) if attributes.get("transB", 0) else inputs[1]
    return attributes.get("alpha", 1.0) * (a @ b)


def quick_gelu(inputs: Inputs, attributes: Attributes) -> Tensor:
    return inputs[0] * torch.sigmoid(attributes.get("alpha", 1.702) * inputs[0])


def bias_gelu(inputs: Inputs, _: Attributes) -> Tensor:
    return F.gelu(inputs[0] + inputs[1])


def skip_layer_normalization(inputs: Inputs, attributes: Attributes) -> Tensor:
    x = inputs[0] + inputs[1]
    if _get(inputs, 4) is not None:
        x = x + inputs[4]
    return F.layer_norm(x, x.shape[-1:], inputs[2], _get(inputs, 3), attributes.get("epsilon", 1e-12))


STANDARD: dict[str, Operator] = {
    "BatchNormalization": batch_norm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Resize": resize,
    "Erf": erf,
    "Gelu": gelu,
}
MICROSOFT: dict[str, Operator] = {
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": gelu,
    "BiasGelu": bias_gelu,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer_normalization,
}
