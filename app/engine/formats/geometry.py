"""Is a tensor of the file where it says it is? Checked before anything is built on it."""

import torch

from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import (
    REBUILD_FROM_TYPE,
    REBUILD_PARAMETER,
    REBUILD_PARAMETER_WITH_STATE,
    REBUILD_TENSOR,
    REBUILD_TENSOR_V2,
    REBUILD_TENSOR_V3,
    StoredTensor,
    has_metadata,
    span,
    tensor_of,
)

DENSE = frozenset(
    {REBUILD_TENSOR, REBUILD_TENSOR_V2, REBUILD_TENSOR_V3, REBUILD_PARAMETER, REBUILD_PARAMETER_WITH_STATE}
)
_REBUILDS = DENSE | {REBUILD_FROM_TYPE}
_MAX_EXTENT = 1 << 62
_MOST_ATTRIBUTES = 1000
_MAX_REPEATED = 1 << 24  # elements of a tensor with more of them than its storage (expand, unfold)


def unsupported_tensor(node: Object) -> str | None:
    """What kind of tensor `node` rebuilds, where it is one that is not read: sparse, quantised, a tensor subclass."""
    origin = node.origin
    if not isinstance(origin, Global):
        return None
    if origin.module == "torch._utils" and origin.name.startswith("_rebuild_") and origin not in DENSE:
        return origin.path
    if origin in (REBUILD_TENSOR_V2, REBUILD_TENSOR_V3) and has_metadata(origin, node.args):
        return f"{origin.path} (a conjugate or negative view)"
    if origin == REBUILD_FROM_TYPE and tensor_of(node) is None:
        named = [arg.path for arg in node.args[:2] if isinstance(arg, Global)]
        return f"{origin.path}({', '.join(named)})"
    return None


def rebuilds_tensor(node: Object) -> bool:
    """Whether the object is a call that rebuilds a tensor, of whatever kind."""
    return isinstance(node.origin, Global) and node.origin in _REBUILDS


def geometry_fault(node: Object) -> str | None:
    """What is wrong with the tensor that `node` rebuilds, as a sentence; None where it is sound or no tensor at all."""
    if not rebuilds_tensor(node):
        return None
    if node.how != "reduce":
        return f"{node.origin.path} is not a class"
    tensor = tensor_of(node)
    if tensor is None:
        return f"the arguments of {node.origin.path} are not those of a dense tensor"
    return tensor_fault(tensor) or _attributes_fault(node)


def _attributes_fault(node: Object) -> str | None:
    """A tensor's own attributes are set one by one: `data` among them would make it another tensor."""
    if node.origin not in (REBUILD_FROM_TYPE, REBUILD_PARAMETER_WITH_STATE) or len(node.args) != 4:
        return None
    state = node.args[3]
    for part in state if isinstance(state, tuple) else (state,):
        if part is not None and not isinstance(part, dict):
            return "the attributes of a tensor are no dictionary"
        if len(part or ()) > _MOST_ATTRIBUTES:
            return "a tensor has attributes without number"
        taken = [key for key in part or () if not isinstance(key, str) or hasattr(torch.Tensor, key)]
        if taken:
            return f"a tensor is given the attribute {str(taken[0])[:40]!r}, which is torch's own"
    return None


def repeated(node: Object) -> int:
    """Elements of a sound tensor, if they are more than its storage holds: what reading it may cost beyond the file."""
    tensor = tensor_of(node)
    if tensor is None or tensor.numel <= _held(tensor):
        return 0
    return tensor.numel


def _held(tensor: StoredTensor) -> int:
    return tensor.storage.source.nbytes // tensor.dtype.itemsize


def tensor_fault(tensor: StoredTensor) -> str | None:
    """What is wrong with where a tensor says that it lies in its storage, as a sentence; None where it is sound."""
    if tensor.offset < 0 or min(tensor.shape, default=0) < 0 or min(tensor.stride, default=0) < 0:
        return "a tensor has a negative size, stride or offset"
    if max(tensor.offset, *tensor.shape, *tensor.stride, 0) > _MAX_EXTENT:
        return "a tensor's geometry is beyond 2^62"
    held = _held(tensor)
    where = f"storage {tensor.storage.key!r} of {held:,} elements"
    if 0 not in tensor.shape and tensor.offset + span(tensor.shape, tensor.stride) > held:
        return f"a tensor of shape {tensor.shape} reaches behind the end of {where}"
    if tensor.numel > max(held, _MAX_REPEATED):
        return f"a tensor of shape {tensor.shape} has more elements than {where}"
    return None
