"""Has a layer the attributes that its constructor lets through? A file may say anything; no description has to ask."""

import math
import re
from typing import Any

from app.engine.forward.computed_weights import has_computed_weights, weight_or_part
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor, tensor_of

_TABLES = ("_parameters", "_buffers", "_modules")
_WORDS = ("same", "valid")
_DIMENSIONS = re.compile(r"([123])d")  # Conv2d, and the Conv2dSame of another package
_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def convolution_fits(module: Module) -> bool:
    """torch.nn.Conv1d to Conv3d."""
    weight = _weight(module)
    groups = _plain(module, "groups", 1)
    if weight is None or not _whole(groups, 1) or weight.shape[0] % groups:
        return False
    padding = _plain(module, "padding")
    return (
        _geometry_fits(module, len(weight.shape) - 2)
        and (padding in _WORDS if isinstance(padding, str) else _sizes(padding, len(weight.shape) - 2, 0))
        and _plain(module, "padding_mode", "zeros") in _PADDING_MODES
        and _vector(module, "bias", weight.shape[0])
    )


def transposed_convolution_fits(module: Module) -> bool:
    """torch.nn.ConvTranspose1d to ConvTranspose3d."""
    weight = _weight(module)
    groups = _plain(module, "groups", 1)
    if weight is None or not _whole(groups, 1) or weight.shape[0] % groups:
        return False
    dims = len(weight.shape) - 2
    return (
        _geometry_fits(module, dims)
        and _sizes(_plain(module, "padding"), dims, 0)
        and _output_padding_fits(module, dims)
        and _vector(module, "bias", weight.shape[1] * groups)
    )


def linear_fits(module: Module) -> bool:
    weight = _real_weight(module)
    return weight is not None and len(weight.shape) == 2 and _vector(module, "bias", weight.shape[0])


def batch_norm_fits(module: Module) -> bool:
    parts = ("weight", "bias", "running_mean", "running_var")
    eps = _plain(module, "eps", 1e-5)
    return number_fits(module, "eps", 1e-5) and eps >= 0 and all(_vector(module, name, None) for name in parts)


def number_fits(module: Module, name: str, default: float) -> bool:
    """Whether an attribute is a finite number."""
    value = _plain(module, name, default)
    return type(value) in (int, float) and math.isfinite(value)


def _plain(module: Module, name: str, default: Any = None) -> Any:
    """A plain attribute; None where a parameter, buffer or child has its name, which a description would find first."""
    if any(name in module.table(table) for table in _TABLES):
        return None
    return module.attribute(name, default)


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 1 << 31


def _sizes(value: Any, dims: int, least: int) -> bool:
    """One size, or one per dimension."""
    if not isinstance(value, (tuple, list)):
        return _whole(value, least)
    return len(value) == dims and all(_whole(size, least) for size in value)


def _geometry_fits(module: Module, dims: int) -> bool:
    return all(_sizes(_plain(module, name), dims, 1) for name in ("stride", "dilation"))


def _output_padding_fits(module: Module, dims: int) -> bool:
    """Smaller than stride or dilation in each dimension; both are known to fit."""
    extra, stride, dilation = (_plain(module, name) for name in ("output_padding", "stride", "dilation"))
    if not _sizes(extra, dims, 0):
        return False
    each = zip(*(_spread(value, dims) for value in (extra, stride, dilation)), strict=True)
    return all(size < max(step, spacing) for size, step, spacing in each)


def _spread(value: Any, dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


def _tensor(module: Module, name: str) -> StoredTensor | None:
    """A parameter, or what stands in its place, if it holds real numbers."""
    if name in module.table("_modules"):
        return None
    stored = module.tensor(name)
    return stored if stored is not None and stored.dtype.is_floating_point else None


def _real_weight(module: Module) -> StoredTensor | None:
    """The weight, or what it is computed from in its shape, if it holds real numbers."""
    if not has_computed_weights(module):
        return _tensor(module, "weight")
    stored = weight_or_part(module)
    return stored if stored is not None and stored.dtype.is_floating_point else None


def _weight(module: Module) -> StoredTensor | None:
    """The weight of a convolution of as many dimensions as the name of its class says."""
    weight = _real_weight(module)
    dims = _DIMENSIONS.search(module.class_path.rpartition(".")[2])
    known = weight is not None and dims is not None and len(weight.shape) == int(dims[1]) + 2
    return weight if weight is not None and known and 0 not in weight.shape else None


def _vector(module: Module, name: str, size: int | None) -> bool:
    """Whether a parameter or buffer is a vector (of this size), None or not there."""
    held = [table[name] for table in (*map(module.table, _TABLES), module.state) if name in table]
    if not held or held[0] is None:
        return True
    stored = _tensor(module, name)
    return (
        stored is not None
        and tensor_of(held[0]) is not None
        and len(stored.shape) == 1
        and (size is None or stored.shape == (size,))
    )
