"""What the file says of tensors that are new in it: sizes and strides, symbolic where those they come from are."""

from collections.abc import Sequence
from typing import Any

import torch

from app.engine.formats.pt2.arguments import STRIDED, code_of
from app.engine.formats.pt2.json_text import Table

Size = Table  # {"as_int": 3} or {"as_expr": {"expr_str": ..., "hint": {"as_int": 3}}}


def plain(shape: Sequence[int], dtype: torch.dtype, requires_grad: bool) -> Table:
    """A dense tensor of fixed size."""
    sizes: list[Size] = [{"as_int": size} for size in shape]
    return {
        "dtype": code_of(dtype),
        "sizes": sizes,
        "requires_grad": requires_grad,
        "device": {"type": "cpu", "index": None},
        "strides": dense(sizes),
        "storage_offset": {"as_int": 0},
        "layout": STRIDED,
    }


def padded(meta: Table, padding: Sequence[tuple[int, int]]) -> Table:
    """The tensor with zeros around its last dimensions."""
    fixed = len(meta["sizes"]) - len(padding)
    sizes = [*meta["sizes"][:fixed]]
    sizes += [_plus(size, sum(sides)) for size, sides in zip(meta["sizes"][fixed:], padding, strict=True)]
    return meta | {"sizes": sizes, "strides": dense(sizes), "storage_offset": {"as_int": 0}}


def dense(sizes: Sequence[Size]) -> list[Size]:
    """The strides of a tensor that lies in order, from the last dimension on."""
    strides: list[Size] = [{"as_int": 1}]
    for size in reversed(sizes[1:]):
        strides.append(_times(strides[-1], size))
    return strides[::-1] if sizes else []


def _plus(size: Size, number: int) -> Size:
    if "as_int" in size:
        return {"as_int": size["as_int"] + number}
    written = size["as_expr"]["expr_str"]
    joined = f"Add({written}, Integer({number}))" if "Symbol(" in written else f"({written}) + {number}"
    return _expression(joined, [size], lambda hints: hints[0] + number)


def _times(one: Size, other: Size) -> Size:
    if "as_int" in one and "as_int" in other:
        return {"as_int": one["as_int"] * max(other["as_int"], 1)}
    symbolic = any("Symbol(" in size["as_expr"]["expr_str"] for size in (one, other) if "as_expr" in size)
    texts = [_text(size, symbolic) for size in (one, other)]
    joined = f"Mul({texts[0]}, {texts[1]})" if symbolic else f"({texts[0]})*({texts[1]})"
    return _expression(joined, [one, other], lambda hints: hints[0] * hints[1])


def _text(size: Size, symbolic: bool) -> str:
    if "as_int" in size:
        return f"Integer({size['as_int']})" if symbolic else str(size["as_int"])
    written: str = size["as_expr"]["expr_str"]
    return written


def _expression(text: str, parts: list[Size], compute: Any) -> Size:
    """The hint is what the size was when the program was exported; where one of the parts has none, there is none."""
    hints = [_hint(part) for part in parts]
    hint = None if None in hints else {"as_int": compute(hints)}
    return {"as_expr": {"expr_str": text, "hint": hint}}


def _hint(size: Size) -> int | None:
    if "as_int" in size:
        known: int = size["as_int"]
        return known
    hint = size["as_expr"].get("hint")
    return hint.get("as_int") if isinstance(hint, dict) else None
