"""Sizes on which a program can be tried: those that are proposed, as near as its ranges and expressions allow."""

from collections.abc import Mapping

from app.engine.forward.aten.ports import number_of, symbols_at, user_tensors
from app.engine.ir.exported import Exported
from app.engine.ir.symbolic import LARGEST, Size, Symbol, names_in, solve, text

Shapes = Mapping[str, tuple[int, ...]]
_ANY = (1, LARGEST)
_NOT_CHECKED = 2  # sizes below it are not traced, and torch lets them pass: it checks only bounds above


def settled(exported: Exported, proposed: Shapes, given: frozenset[str]) -> Shapes:
    """The shapes that the program takes; those of the inputs in `given` stay as they are."""
    symbols = symbols_at(exported, {name: shape for name, shape in proposed.items() if name in given})
    open_sizes = [
        (size, number)
        for name, meta in user_tensors(exported)
        if name not in given
        for size, number in zip(meta.sizes, proposed[name], strict=True)
        if not isinstance(size, int)
    ]
    # Symbols that stand for a size by themselves come first: what is derived from them follows.
    for size, number in sorted(open_sizes, key=lambda pair: not isinstance(pair[0], Symbol)):
        _settle(exported, size, number, symbols)
    return {
        name: shape if name in given else _shape(exported, name, shape, symbols) for name, shape in proposed.items()
    }


def exported_at(exported: Exported) -> Shapes | None:
    """The shapes at which the program was exported, where it says them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, meta in user_tensors(exported):
        sizes = [number_of(size, exported.hints) for size in meta.sizes]
        shapes[name] = tuple(size for size in sizes if size is not None and size > 0)
        if len(shapes[name]) < len(sizes):
            return None
    return shapes


def misfit(exported: Exported, shapes: Shapes) -> str | None:
    """What the program says against these shapes: a range that is left, or a size that does not follow from others."""
    symbols = symbols_at(exported, shapes)
    for name, meta in user_tensors(exported):
        for axis, (size, number) in enumerate(zip(meta.sizes, shapes[name], strict=True)):
            wrong = _derived(size, number, symbols) or _out_of_range(exported, size, symbols)
            if wrong is not None:
                return f"dimension {axis} of {name} is {number}, {wrong}"
    return None


def _derived(size: Size, number: int, symbols: Mapping[str, int]) -> str | None:
    due = number_of(size, symbols)
    return None if due in (None, number) else f"but it has to be {text(size)}, which is {due}"


def _out_of_range(exported: Exported, size: Size, symbols: Mapping[str, int]) -> str | None:
    for name in sorted(names_in(size) & set(symbols)):
        least, most = exported.ranges.get(name, _ANY)
        if not (least if least > _NOT_CHECKED else 1) <= symbols[name] <= most:
            bounds = f"from {least} to {most}" if most < LARGEST else f"{least} or more"
            return f"so that {name} is {symbols[name]}, and the program was exported for {bounds}"
    return None


def _settle(exported: Exported, size: Size, number: int, symbols: dict[str, int]) -> None:
    """Give a number to each symbol of the size that has none yet."""
    for name in sorted(names_in(size) - set(symbols)):
        least, most = exported.ranges.get(name, _ANY)
        told = solve(size, number, symbols).get(name, number)
        symbols[name] = min(max(told, least, 1), most)


def _shape(exported: Exported, name: str, proposed: tuple[int, ...], symbols: Mapping[str, int]) -> tuple[int, ...]:
    sizes = exported.graph.tensors[name].sizes
    numbers = [number_of(size, symbols) for size in sizes]
    return tuple(
        number if number is not None and number >= 0 else other for number, other in zip(numbers, proposed, strict=True)
    )
