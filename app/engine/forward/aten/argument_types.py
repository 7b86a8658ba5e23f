"""Does an argument of the file suit the type that the operator's schema declares for it?"""

from typing import Any

import torch

from app.engine.forward.aten.rows import Rows
from app.engine.ir.exported import DeviceRef
from app.engine.ir.graph import Const, Value

# Schemas call these integers, too.
_NAMED = (torch.dtype, torch.layout, torch.memory_format)


def fits(declared: str, value: Any) -> bool:
    """`declared` as torch writes it: `Optional[List[int]]`."""
    if declared.startswith("Optional["):
        return value is None or fits(_inner(declared), value)
    if declared.startswith("List["):
        inner = _inner(declared)
        return all(fits(inner, one) for one in value) if isinstance(value, list) else _stands_for_all(inner, value)
    match declared:
        case "Tensor":
            return isinstance(value, (Value, Const, Rows, bool, int, float))  # a number stands for a tensor of it
        case "int":
            return _is_integer(value) or isinstance(value, _NAMED)
        case "float":
            return _is_integer(value) or isinstance(value, float)
        case "number":
            return isinstance(value, (bool, int, float))
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "Device":
            return isinstance(value, DeviceRef)
    return False


def _inner(declared: str) -> str:
    return declared[declared.index("[") + 1 : -1]


def _stands_for_all(inner: str, value: Any) -> bool:
    """Where a list of numbers is due, one number means as many as are needed."""
    return inner in ("int", "float") and _is_integer(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
