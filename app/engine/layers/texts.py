"""What a report calls a module: its class, and for the layers that everybody knows their sizes."""

from math import prod

from app.engine.forward.structure import is_batch_norm, is_convolution
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor

_LONGEST = 200
_MAX_DIMS = 3


def kind_of(module: Module) -> str:
    """The name of its class, without where that lies."""
    return _short(module.class_path.rpartition(".")[2])


def text_of(module: Module) -> str:
    """`Conv2d(3, 16, 3x3, stride 2)`; the class alone where its sizes are not there."""
    kind, weight = kind_of(module), module.tensor("weight")
    sizes = ""
    if is_convolution(module) and weight is not None:
        sizes = _convolution(module, weight)
    elif is_batch_norm(module):
        sizes = _width(module)
    elif kind == "Linear" and weight is not None and len(weight.shape) == 2:
        sizes = f"{weight.shape[1]}, {weight.shape[0]}"
    return f"{kind}({sizes})" if sizes else kind


def _convolution(module: Module, weight: StoredTensor) -> str:
    """Channels from the weight, which can't be wrong; stride and groups where the file says them."""
    dims = len(weight.shape) - 2
    if not 1 <= dims <= _MAX_DIMS:
        return ""
    groups = module.attribute("groups", 1)
    groups = groups if isinstance(groups, int) and not isinstance(groups, bool) else 1
    first, second = weight.shape[:2]
    transposed = module.attribute("transposed", False) is True
    wide, out = (first, second * groups) if transposed else (second * groups, first)
    parts = [str(wide), str(out), "x".join(map(str, weight.shape[2:]))]
    stride = module.attribute("stride", 1)
    first_stride = stride[0] if isinstance(stride, (tuple, list)) and stride else stride
    if isinstance(first_stride, int) and first_stride != 1:
        parts.append(f"stride {first_stride}")
    return ", ".join([*parts, f"groups {groups}"] if groups != 1 else parts)


def _width(module: Module) -> str:
    stored = module.tensor("running_mean") or module.tensor("weight")
    return str(prod(stored.shape)) if stored is not None else ""


def _short(text: str) -> str:
    """Names in a file may be of any length and hold half characters."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()
