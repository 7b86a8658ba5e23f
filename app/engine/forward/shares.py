"""A batch norm over joined channels is one norm for each of the joined parts, by its share of the numbers."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import expression
from app.engine.ir.graph import Const, Value


def normed_apart(norm: Block, parts: Sequence[Value], ops: Ops) -> list[Value]:
    """What a norm of these parts' concatenation makes of each of them."""
    whole, start, found = sum(part.shape[1] for part in parts), 0, []
    for part in parts:
        found.append(ops.share_of(norm, partial(_share, start=start, whole=whole), part))
        start += part.shape[1]
    return found


def _share(norm: Block, x: Value, ops: Ops, start: int, whole: int) -> Value:
    """The batch norm of the channels from `start` on."""

    def part(name: str) -> Const | None:
        found = norm.find(name)
        if found is None:
            return None
        if found.shape != (whole,):
            raise ValueError(f"{name} is for {found.shape} channels, {whole} are joined")
        return expression(partial(_channels, start=start, count=x.shape[1]), found)

    return ops.batch_norm(x, part("running_mean"), part("running_var"), part("weight"), part("bias"), norm.eps)


def _channels(numbers: Tensor, start: int, count: int) -> Tensor:
    return numbers[start : start + count]
