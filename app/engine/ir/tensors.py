"""Tensors of the inert tree: the nodes torch writes for them, seen as geometry over a storage; and new ones."""

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.ir.node import Bytes, Global, Object, Storage

UNTYPED: Final = Global("torch.storage", "UntypedStorage")
ORDERED_DICT: Final = Global("collections", "OrderedDict")
REBUILD_TENSOR: Final = Global("torch._utils", "_rebuild_tensor")
REBUILD_TENSOR_V2: Final = Global("torch._utils", "_rebuild_tensor_v2")
REBUILD_TENSOR_V3: Final = Global("torch._utils", "_rebuild_tensor_v3")
REBUILD_PARAMETER: Final = Global("torch._utils", "_rebuild_parameter")
REBUILD_PARAMETER_WITH_STATE: Final = Global("torch._utils", "_rebuild_parameter_with_state")
# How torch writes a plain tensor that carries attributes (a torch.nn.Buffer): (rebuild, type, its args, state).
REBUILD_FROM_TYPE: Final = Global("torch._tensor", "_rebuild_from_type_v2")

MAX_DIMENSIONS: Final = 64  # torch's own limit
_PLAIN_TYPES: Final = frozenset({Global("torch", "Tensor"), Global("torch._tensor", "Tensor")})
_REBUILDS: Final = frozenset({REBUILD_TENSOR, REBUILD_TENSOR_V2, REBUILD_TENSOR_V3})
_PARAMETERS: Final = frozenset({REBUILD_PARAMETER, REBUILD_PARAMETER_WITH_STATE})

_STORAGE_NAMES: Final[dict[torch.dtype, str]] = {
    torch.float64: "DoubleStorage",
    torch.float32: "FloatStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
    torch.complex128: "ComplexDoubleStorage",
    torch.complex64: "ComplexFloatStorage",
    torch.qint8: "QInt8Storage",
    torch.qint32: "QInt32Storage",
    torch.quint8: "QUInt8Storage",
    torch.quint4x2: "QUInt4x2Storage",
    torch.quint2x4: "QUInt2x4Storage",
}
_DTYPES: Final = {name: dtype for dtype, name in _STORAGE_NAMES.items()}

# Dtypes without a storage class of their own: torch writes them as UntypedStorage and names the dtype beside it.
_UNTYPED_NAMES: Final = (
    *("uint16", "uint32", "uint64", "complex32"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
)
_UNTYPED_DTYPES: Final[dict[str, torch.dtype]] = {
    name: getattr(torch, name) for name in _UNTYPED_NAMES if hasattr(torch, name)
}
_NAMED_DTYPES: Final = _UNTYPED_DTYPES | {str(dtype).removeprefix("torch."): dtype for dtype in _STORAGE_NAMES}


def storage_dtype(kind: Global) -> torch.dtype | None:
    """The dtype of a storage class; uint8 for the untyped one, None where `kind` is not a storage class."""
    if kind.module not in ("torch", "torch.storage", "torch.cuda"):
        return None
    return torch.uint8 if kind.name == "UntypedStorage" else _DTYPES.get(kind.name)


def named_dtype(name: str) -> torch.dtype | None:
    """The dtype of that name below `torch`."""
    return _NAMED_DTYPES.get(name)


def storage_kind(dtype: torch.dtype) -> Global:
    """The storage class that torch writes for `dtype`."""
    name = _STORAGE_NAMES.get(dtype)
    return UNTYPED if name is None else Global("torch", name)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a view of a storage. `offset` and `stride` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    def read(self) -> Tensor:
        """The tensor on its storage, not copied (unless misaligned in the file). Not to be written to."""
        content = self.storage.source.tensor()
        itemsize = self.dtype.itemsize
        whole = content[: content.numel() // itemsize * itemsize]
        if (whole.numel() and whole.data_ptr() % itemsize) or whole.storage_offset() % itemsize:
            whole = whole.clone()
        typed = whole.view(self.dtype)
        return typed.as_strided(self.shape, self.stride, typed.storage_offset() + self.offset)


@dataclass(frozen=True, slots=True)
class MemoryBytes:
    """Bytes of a storage that was made here."""

    content: Tensor  # (nbytes,) uint8

    @property
    def nbytes(self) -> int:
        return self.content.numel()

    def tensor(self) -> Tensor:
        return self.content


def is_tensor(node: Any) -> bool:
    """True for a node that rebuilds a dense tensor, parameters included."""
    return tensor_of(node) is not None


def is_parameter(node: Any) -> bool:
    """True for a node that rebuilds a torch.nn.Parameter."""
    return _call(node) in _PARAMETERS and is_tensor(node)


def tensor_of(node: Any) -> StoredTensor | None:
    """The dense tensor that `node` rebuilds, looking through `_rebuild_parameter`; None for anything else."""
    call = _call(node)
    if call is None:
        return None
    if node.seen is None or node.seen[0] is not node.args:
        node.seen = (node.args, _looked_at(call, node))
    found: StoredTensor | None = node.seen[1]
    return found


def _looked_at(call: Global, node: Object) -> StoredTensor | None:
    if call in _PARAMETERS:
        if len(node.args) < 2 or _call(node.args[0]) in _PARAMETERS:
            return None
        inner = tensor_of(node.args[0])
        if inner is None:
            return None
        return StoredTensor(inner.storage, inner.offset, inner.shape, inner.stride, inner.dtype, node.args[1] is True)
    if call == REBUILD_FROM_TYPE and len(node.args) == 4:
        rebuild, kind, args, _ = node.args
        plain = isinstance(kind, Global) and kind in _PLAIN_TYPES and isinstance(args, tuple)
        return _dense(rebuild, args) if plain else None
    return _dense(call, node.args)


def _call(node: Any) -> Global | None:
    """The global that a REDUCE node calls."""
    if isinstance(node, Object) and node.how == "reduce" and isinstance(node.origin, Global):
        return node.origin
    return None


def _dense(rebuild: Any, args: tuple[Any, ...]) -> StoredTensor | None:
    """Arguments of `_rebuild_tensor`, `_v2` (and requires_grad, hooks, metadata) or `_v3` (dtype before metadata)."""
    counts = {REBUILD_TENSOR: (4,), REBUILD_TENSOR_V2: (6, 7), REBUILD_TENSOR_V3: (7, 8)}
    if not isinstance(rebuild, Global) or rebuild not in _REBUILDS or len(args) not in counts[rebuild]:
        return None
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Storage) or not (_is_shape(shape) and _is_shape(stride)) or type(offset) is not int:
        return None
    if len(shape) != len(stride) or has_metadata(rebuild, args):
        return None
    dtype = _dtype_of(args[6]) if rebuild == REBUILD_TENSOR_V3 else storage_dtype(storage.kind)
    if dtype is None:
        return None
    return StoredTensor(storage, offset, shape, stride, dtype, len(args) > 4 and args[4] is True)


def has_metadata(rebuild: Global, args: tuple[Any, ...]) -> bool:
    """True where a tensor is marked as conjugate or negative of what its storage holds: the bytes aren't its values."""
    at = 7 if rebuild == REBUILD_TENSOR_V3 else 6
    return len(args) > at and args[at] not in (None, {})


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_DIMENSIONS and all(type(size) is int for size in value)


def _dtype_of(node: Any) -> torch.dtype | None:
    return _NAMED_DTYPES.get(node.name) if isinstance(node, Global) and node.module == "torch" else None


def buffer(tensor: Tensor, location: str = "cpu", requires_grad: bool = False, owned: bool = False) -> Object:
    """A new plain tensor node as torch.save writes it: a copy of `tensor`, with its strides where they are dense.

    An `owned` tensor, which nobody writes to any more and which fills its storage, is held without a copy.
    """
    held = tensor.detach()
    if not owned or held.untyped_storage().nbytes() != held.nbytes or held.device.type != "cpu":
        held = torch.empty_like(held, device="cpu", memory_format=torch.preserve_format).copy_(held)
    kind = storage_kind(held.dtype)
    content = _bytes_of(held)
    numel = content.numel() if kind == UNTYPED else held.numel()
    storage = Storage(kind, "", location, numel, MemoryBytes(content))
    geometry = (storage, 0, tuple(held.shape), held.stride(), requires_grad, Object(ORDERED_DICT, ()))
    if kind == UNTYPED:
        return Object(REBUILD_TENSOR_V3, (*geometry, Global("torch", str(held.dtype).removeprefix("torch."))))
    return Object(REBUILD_TENSOR_V2, geometry)


def stored_node(source: Bytes, shape: tuple[int, ...], dtype: torch.dtype) -> Object:
    """A plain tensor node for bytes that lie somewhere already, row after row."""
    kind = storage_kind(dtype)
    numel = source.nbytes if kind == UNTYPED else math.prod(shape)
    geometry = (Storage(kind, "", "cpu", numel, source), 0, shape, _row_major(shape), False, Object(ORDERED_DICT, ()))
    if kind == UNTYPED:
        return Object(REBUILD_TENSOR_V3, (*geometry, Global("torch", str(dtype).removeprefix("torch."))))
    return Object(REBUILD_TENSOR_V2, geometry)


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))


def without_parameter(node: Object) -> Object:
    """The plain tensor in a torch.nn.Parameter; any other node as it is."""
    plain: Object = node.args[0] if is_parameter(node) else node
    return plain


def parameter(tensor: Tensor, location: str = "cpu", requires_grad: bool = False, owned: bool = False) -> Object:
    """A new torch.nn.Parameter node as torch.save writes it; `owned` as for `buffer`."""
    plain = buffer(tensor, location, requires_grad, owned)
    return Object(REBUILD_PARAMETER, (plain, requires_grad, Object(ORDERED_DICT, ())))


def _bytes_of(tensor: Tensor) -> Tensor:
    """All bytes of a dense tensor's storage, (nbytes,) uint8, shared with it."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first to behind the last one that a view touches; 0 for an empty one."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def in_memory(tensor: Tensor) -> StoredTensor:
    """A tensor that was made here as a stored one."""
    held = tensor.detach().contiguous()
    content = held.reshape(-1).view(torch.uint8) if held.numel() else torch.empty(0, dtype=torch.uint8)
    storage = Storage(storage_kind(held.dtype), "", "cpu", held.numel(), MemoryBytes(content))
    return StoredTensor(storage, 0, tuple(held.shape), held.stride(), held.dtype, False)
