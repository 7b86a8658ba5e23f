"""Counting a program: parameters, operators, bytes."""

from collections import Counter

import torch

from app.engine.formats.pt2.pt2_file import Pt2File
from app.engine.fuse.census import Census
from app.engine.ir.exported import Operator, TensorRef
from app.engine.layers import Listed

_CONVOLUTIONS = ("conv1d.", "conv2d.", "conv3d.", "convolution.", "conv_transpose")
_BATCH_NORMS = ("batch_norm.", "_native_batch_norm_legit", "cudnn_batch_norm.", "native_batch_norm.")
_NO_OPERATORS = ("sym_", "_assert_")


def count(file: Pt2File) -> Census:
    """Count what is in the program; a tensor of several names once."""
    seen: set[tuple[int, int, tuple[int, ...], tuple[int, ...]]] = set()
    dtypes: Counter[torch.dtype] = Counter()
    for spec in file.inputs:
        if spec.kind != "parameter":
            continue
        stored = file.stored[spec.target]
        key = (id(stored.storage), stored.offset, stored.shape, stored.stride)
        if key not in seen:
            seen.add(key)
            dtypes[stored.dtype] += stored.numel
    names = [name for name in map(_name, file.graph.nodes) if name]
    storages = {id(stored.storage): stored.storage for stored in file.stored.values()}
    return Census(
        parameters=sum(dtypes.values()),
        batch_norms=sum(name.startswith(_BATCH_NORMS) for name in names),
        convolutions=sum(name.startswith(_CONVOLUTIONS) for name in names),
        dtype=max(dtypes, key=lambda kind: dtypes[kind]) if dtypes else torch.float32,
        operators=len(names),
        bytes=sum(storage.source.nbytes for storage in storages.values()),
    )


def listed(file: Pt2File) -> tuple[Listed, ...]:
    """Every operator in the order of the program; a parameter counts at the first that reads it."""
    held = {
        spec.value.name: file.stored[spec.target].numel
        for spec in file.inputs
        if spec.kind == "parameter" and isinstance(spec.value, TensorRef)
    }
    rows = ((operator, _name(operator)) for operator in file.graph.nodes)
    return tuple(
        Listed(operator.owner, name.removesuffix(".default"), sum(held.pop(ref.name, 0) for ref in operator.reads()))
        for operator, name in rows
        if name
    )


def _name(operator: Operator) -> str:
    """`conv2d.default`; empty for what computes sizes or checks them."""
    name = operator.target.removeprefix("torch.ops.").removeprefix("aten.")
    computes = operator.target.startswith("torch.ops.") and not name.startswith(_NO_OPERATORS)
    return name if computes else ""
