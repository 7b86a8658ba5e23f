"""Are two object graphs the same? Types, values, strides, and which parts are one object in both."""

import types

import numpy as np
import torch

from app.engine.formats.nesting import children
from app.engine.ir.node import MISSING, Global, Object, Storage

_ATOMS = (type(None), bool, int, float, str, bytes, type, types.FunctionType, torch.dtype, torch.device)


def assert_same(left, right, path="root", seen=None):
    """Walk both graphs at once; every object of the left one must always meet the same object of the right one."""
    seen = {} if seen is None else seen
    assert type(left) is type(right), f"{path}: {type(left)} and {type(right)}"
    if isinstance(
        left, (type(None), bool, int, float, str, bytes, type, types.FunctionType, torch.dtype, torch.device)
    ):
        assert left == right, f"{path}: {left!r} and {right!r}"
        return
    if id(left) in seen:
        assert seen[id(left)][1] is right, f"{path}: one object became two"
        return
    seen[id(left)] = (left, right)
    if isinstance(left, torch.Tensor):
        _assert_same_tensor(left, right, path, seen)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert np.array_equal(left, right), path
    elif isinstance(left, (set, frozenset)):
        assert left == right, path
    elif isinstance(left, types.MethodType):
        assert left.__func__ is right.__func__
        assert_same(left.__self__, right.__self__, f"{path}.__self__", seen)
    else:
        _assert_same_parts(left, right, path, seen)


def _assert_same_parts(left, right, path, seen):
    if isinstance(left, dict):
        assert len(left) == len(right), path
        for (key, value), (other_key, other) in zip(left.items(), right.items(), strict=True):
            assert_same(key, other_key, f"{path} key {key!r}", seen)
            assert_same(value, other, f"{path}[{key!r}]", seen)
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), path
        for index, (value, other) in enumerate(zip(left, right, strict=True)):
            assert_same(value, other, f"{path}[{index}]", seen)
    elif not hasattr(left, "__dict__"):
        assert left == right or repr(left) == repr(right), path
    state = getattr(left, "__dict__", None)
    if isinstance(state, dict) and not isinstance(left, (torch.utils.hooks.RemovableHandle,)):
        assert_same(dict(state), dict(right.__dict__), f"{path}.", seen)


def _assert_same_tensor(left, right, path, seen):
    assert (left.dtype, left.shape, left.stride()) == (right.dtype, right.shape, right.stride()), path
    assert (left.storage_offset(), left.requires_grad) == (right.storage_offset(), right.requires_grad), path
    as_bytes = (
        [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (left, right)] if left.numel() else [1, 1]
    )
    assert left.numel() == 0 or torch.equal(*as_bytes), path
    storages = (left.untyped_storage().data_ptr(), right.untyped_storage().data_ptr())
    if storages[0]:
        assert seen.setdefault(("storage", storages[0]), storages[1]) == storages[1], (
            f"{path}: a shared storage was split"
        )


def tree_text(root):
    """An inert tree as a list of lines in which aliases show; equal for equal trees. Iterative."""
    lines, numbers, pending = [], {}, [root]
    while pending:
        value = pending.pop()
        if value is None or isinstance(value, (bool, int, float, str, bytes, bytearray, Global)):
            lines.append(repr(value))
            continue
        if id(value) in numbers:
            lines.append(f"see {numbers[id(value)]}")
            continue
        if value != ():
            numbers[id(value)] = len(numbers)
        if isinstance(value, Storage):
            content = bytes(value.source.tensor().numpy().data)
            lines.append(f"storage {value.kind} {value.location} {value.numel} {hash(content)}")
            continue
        shape = ""
        if isinstance(value, Object):
            shape = f"{value.how} {len(value.items)} {len(value.pairs)} {value.state is MISSING} {value.kwargs is None}"
        lines.append(f"{type(value).__name__} {shape}")
        pending.extend(children(value))
    return lines
