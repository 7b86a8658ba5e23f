"""Resize, one dimension after the other: which elements each new one is made of, and with which weights."""

from dataclasses import dataclass
from math import floor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.engine.forward.onnx.call import Call
from app.engine.forward.onnx.operator import Operator, Results, Tensors, is_float
from app.engine.forward.onnx.operators.passages import keeping
from app.engine.forward.onnx.operators.reference import by_reference
from app.engine.ir.graph import Value

Floats = NDArray[Any]  # float32 or float64


@dataclass(frozen=True, slots=True)
class Taps:
    """New element i along `axis` is the sum over k of weights[k, i] * x[indices[k, i]]."""

    axis: int
    indices: Tensor
    weights: Tensor

    def apply(self, x: Tensor) -> Tensor:
        across = (-1, *(1,) * (x.ndim - self.axis - 1))
        indices, weights = self.indices.to(x.device), self.weights.to(x.device)
        parts = [x.index_select(self.axis, at) for at in indices]
        if len(parts) == 1:
            return parts[0]
        weighted = [part * w.to(x.dtype).reshape(across) for part, w in zip(parts, weights, strict=True)]
        return torch.stack(weighted).sum(0)


def _scaled(call: Call) -> dict[int, tuple[int, float]]:
    """By axis: the new size, and the scale that the coordinates are computed with."""
    sizes, rank = call.shape(0), len(call.shape(0))
    axes = call.ints("axes") or tuple(range(rank))
    axes = tuple(call.axis(axis, rank) for axis in axes)
    scales, wanted = call.numbers(2) or (), call.integers(3) or ()
    if scales and len(scales) == len(axes) and min(scales) > 0:
        return {axis: (floor(sizes[axis] * scale), scale) for axis, scale in zip(axes, scales, strict=True)}
    if len(wanted) != len(axes) or min(wanted, default=0) < 1:
        raise call.unknown("structure-differs", f"Resize has scales {scales} and sizes {wanted} for axes {axes}")
    return {axis: (want, want / sizes[axis]) for axis, want in zip(axes, wanted, strict=True)}


def _linear(call: Call) -> Results | None:
    """The input itself, where nothing is resized for certain."""
    if not is_float(call) or not (call.settled(2) and call.settled(3)):
        return None
    scales, static = call.numbers(2) or (), call.dims(0)
    wanted = call.integers(3) or ()
    same = set(scales) == {1.0} if scales else len(wanted) == len(static) and wanted == static
    return call.need(0) if same and call.attribute("coordinate_transformation_mode") != "tf_crop_and_resize" else None


def _tensors(call: Call) -> Tensors:
    mode, x = call.attribute("mode", "nearest"), call.need(0)
    turn = call.attribute("coordinate_transformation_mode", "half_pixel")
    unusual = call.attribute("antialias", 0) or call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch"
    scaled = _scaled(call)
    if (
        unusual
        or turn == "tf_crop_and_resize"
        or not isinstance(x, Value)
        or (mode != "nearest" and not is_float(call))
    ):
        return by_reference(call)
    taps = [_taps(call, axis, x.shape[axis], *to) for axis, to in scaled.items() if to != (x.shape[axis], 1.0)]

    def run(x: Tensor) -> Tensor:
        for one in taps:
            x = one.apply(x)
        return x

    # The weights of each new element have the sum 1, so that a shift is one of the new elements as well.
    return Tensors(run, (x,), passage=keeping(call, (one.axis for one in taps)))


def _taps(call: Call, axis: int, size: int, count: int, scale: float) -> Taps:
    at: Floats = _coordinates(call, size, count, scale)
    indices: Floats
    weights: Floats
    mode = call.attribute("mode", "nearest")
    if mode == "nearest":
        indices, weights = _nearest(call.attribute("nearest_mode", "round_prefer_floor"), at)[None], np.ones((1, count))
    elif mode == "linear":
        inside = at.clip(0, size - 1)
        low = np.floor(inside)
        indices, weights = np.stack([low, low + 1]), np.stack([1 - (inside - low), inside - low])
    else:
        indices, weights = _cubic(at, call.attribute("cubic_coeff_a", -0.75))
        if call.attribute("exclude_outside", 0):
            weights = np.where((indices < 0) | (indices >= size), 0, weights)
            weights = weights / weights.sum(0)
    clamped = indices.clip(0, size - 1).astype(np.int64)
    return Taps(axis, torch.from_numpy(clamped), torch.from_numpy(weights.astype(np.float64)))


def _coordinates(call: Call, size: int, count: int, scale: float) -> Floats:
    """Where each new element lies among the old ones. In float32 for `nearest`: runtimes decide ties in it."""
    kind: Any = np.float32 if call.attribute("mode", "nearest") == "nearest" else np.float64
    i, s = np.arange(count, dtype=kind), kind(scale)
    half = kind(0.5)
    at: Floats
    match call.attribute("coordinate_transformation_mode", "half_pixel"):
        case "half_pixel":
            at = (i + half) / s - half
        case "pytorch_half_pixel":
            at = (i + half) / s - half if count > 1 else i * 0
        case "align_corners":
            at = i * kind(size - 1) / kind(count - 1) if count > 1 else i * 0
        case "asymmetric":
            at = i / s
        case "tf_half_pixel_for_nn":
            at = (i + half) / s
        case "half_pixel_symmetric":
            share = kind(count) / (s * kind(size))
            at = kind(size) / 2 * (1 - share) + (i + half) / s - half
        case other:
            raise call.unknown("structure-differs", f"Resize has no coordinate_transformation_mode {other!r}")
    return at


def _nearest(how: str, at: Floats) -> Floats:
    half = at.dtype.type(0.5)
    rounded: Floats
    match how:
        case "round_prefer_floor":
            rounded = np.ceil(at - half)
        case "round_prefer_ceil":
            rounded = np.floor(at + half)
        case "floor":
            rounded = np.floor(at)
        case _:
            rounded = np.ceil(at)
    return rounded


def _cubic(at: Floats, a: float) -> tuple[Floats, Floats]:
    """The four neighbours, and Keys' weights for them (the operator's text, after Keys 1981)."""
    low = np.floor(at)
    t = at - low
    weights = np.stack([_far(1 + t, a), _near(t, a), _near(1 - t, a), _far(2 - t, a)])
    return np.stack([low - 1, low, low + 1, low + 2]), weights


def _near(d: Floats, a: float) -> Floats:
    return ((a + 2) * d - (a + 3)) * d * d + 1


def _far(d: Floats, a: float) -> Floats:
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


OPERATORS: Final[dict[str, Operator]] = {"Resize": Operator(_tensors, _linear)}
