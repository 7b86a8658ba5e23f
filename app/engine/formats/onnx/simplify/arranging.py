"""Operators that only arrange elements: of several in a row one says it all, and one that changes nothing goes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from onnx import helper

from app.engine.formats.onnx.order import Step, needed
from app.engine.formats.onnx.simplify.aliases import bypass
from app.engine.formats.onnx.simplify.facts import Facts, attribute
from app.engine.formats.onnx.simplify.picking import picked_together, picks_at_once
from app.engine.forward.onnx import Dims
from app.engine.ir.tensors import StoredTensor

_RESHAPES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_MOST_ROUNDS: Final = 50


def arrange(
    steps: Sequence[Step],
    tensors: Mapping[str, StoredTensor],
    dims: Mapping[str, Dims],
    outputs: frozenset[str],
    fresh: Callable[[str], str],
) -> list[Step]:
    """The steps that are left once nothing can be shortened any more.

    A step changes what it reads, never what it gives: so what was found out of others holds for a whole round.
    """
    left = needed(steps, outputs)
    for _ in range(_MOST_ROUNDS):
        facts = Facts(left, tensors, dims, outputs)
        shortened = [step for step in left if _shortened(step, facts)]
        together = [made for step in left if (made := picked_together(step, facts, fresh))] if not shortened else []
        same = {step.outputs[0]: str(step.inputs[0]) for step in left if _changes_nothing(step, facts)}
        if not shortened and not together and not same:
            break
        left = needed(bypass([*left, *together], same, outputs), outputs)
    return left


def _shortened(step: Step, facts: Facts) -> bool:
    match step.kind:
        case "Reshape":
            return _reads_before_reshapes(step, facts)
        case "Transpose":
            return _reads_before_transpose(step, facts)
        case "Concat" if _takes_parts_of_parts(step, facts):
            return True
    return picks_at_once(step, facts)


def _reads_before_reshapes(step: Step, facts: Facts) -> bool:
    """Of reshapes in a row the last alone counts, where none of its sizes is "as it is" (a 0)."""
    above, target = facts.giver(step, 0), facts.integers(step, 1)
    if above is None or not _keeps_order(above, facts) or target is None or 0 in target:
        return False
    step.inputs[0] = above.inputs[0]
    return True


def _keeps_order(step: Step, facts: Facts) -> bool:
    """Every number is kept, in its order: a transposition does that if it moves nothing but sizes of one."""
    if step.kind in _RESHAPES:
        return True
    order, sizes = attribute(step, "perm"), facts.sizes(step, 0)
    if step.kind != "Transpose" or order is None or sizes is None:
        return False
    wide = [axis for axis in order if sizes[axis] != 1]
    return wide == sorted(wide)


def _reads_before_transpose(step: Step, facts: Facts) -> bool:
    """Two orders one after the other are one."""
    above = facts.giver(step, 0)
    if above is None or above.kind != "Transpose":
        return False
    first, second = attribute(above, "perm"), attribute(step, "perm")
    rank = len(first or second or ())
    if rank == 0:
        return False
    reverse = tuple(reversed(range(rank)))
    order = tuple((first or reverse)[axis] for axis in second or reverse)
    step.inputs[0] = above.inputs[0]
    step.node = helper.make_node("Transpose", [], [], name=step.node.name, perm=order)
    return True


def _takes_parts_of_parts(step: Step, facts: Facts) -> bool:
    """A concatenation in a concatenation, where nothing else needs the inner one."""
    for index in range(len(step.inputs)):
        inner = facts.giver(step, index)
        if inner is None or inner.kind != "Concat" or len(facts.readers(inner)) != 1:
            continue
        if _axis(inner, facts) == _axis(step, facts):
            step.inputs[index : index + 1] = inner.inputs
            return True
    return False


def _axis(concat: Step, facts: Facts) -> int:
    """The axis, counted from the front where it is known how many there are."""
    axis = int(attribute(concat, "axis", 0))
    ranks = (len(sizes) for index in range(len(concat.inputs)) if (sizes := facts.sizes(concat, index)) is not None)
    return axis if axis >= 0 else axis + next(ranks, 0)


def _changes_nothing(step: Step, facts: Facts) -> bool:
    """Its output is its first input."""
    match step.kind:
        case "Reshape":
            return _keeps_sizes(step, facts)
        case "Transpose":
            order = attribute(step, "perm")
            return order is not None and list(order) == list(range(len(order)))
    return False


def _keeps_sizes(step: Step, facts: Facts) -> bool:
    """Each size but one is kept for certain."""
    target, sizes = facts.integers(step, 1), facts.sizes(step, 0)
    if target is None or sizes is None or len(target) != len(sizes):
        return False
    keeps = not attribute(step, "allowzero", 0)
    kept = [want == size or (want == 0 and keeps) for want, size in zip(target, sizes, strict=True)]
    return all(kept) or (kept.count(False) == 1 and target[kept.index(False)] == -1)
