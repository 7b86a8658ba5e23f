"""Sizes that may differ: small expressions over named integers. Their text is never evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

LARGEST: Final = 1 << 62  # beyond it no size means anything


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named integer: `s77` of the batch, `u0` of a size that only the values tell."""

    name: str


@dataclass(frozen=True, slots=True)
class Term:
    """An operator over expressions."""

    operator: str
    parts: tuple["Size", ...]


Size = int | Symbol | Term


class UnknownSize(Exception):
    """An expression that has no value: an unbound symbol, an operator that is not computed here, a size beyond all."""


def _power(base: int, exponent: int) -> int:
    if not 0 <= exponent <= 64 or abs(base) > 1 << 31:
        raise UnknownSize("a power")
    return int(base**exponent)


def _product(*parts: int) -> int:
    result = 1
    for part in parts:
        result *= part
        if abs(result) > LARGEST:
            raise UnknownSize("a product")
    return result


# Operators by the names that sympy and torch give them. All others are known by name only and have no value.
_COMPUTED: Final[Mapping[str, Callable[..., int]]] = {
    "Add": lambda *parts: sum(parts),
    "Mul": _product,
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": lambda above, below: above // below,
    "CleanDiv": lambda above, below: above // below,
    "CeilDiv": lambda above, below: -(-above // below),
    "Mod": lambda above, below: above % below,
    "PythonMod": lambda above, below: above % below,
    "Max": max,
    "Min": min,
    "Identity": lambda part: part,
}


def evaluate(size: Size, symbols: Mapping[str, int]) -> int:
    """The size as a number. Raises UnknownSize."""
    if isinstance(size, int):
        return size
    if isinstance(size, Symbol):
        if size.name not in symbols:
            raise UnknownSize(size.name)
        return symbols[size.name]
    compute = _COMPUTED.get(size.operator)
    if compute is None:
        raise UnknownSize(size.operator)
    try:
        value = compute(*(evaluate(part, symbols) for part in size.parts))
    except (ZeroDivisionError, TypeError, ValueError) as error:
        raise UnknownSize(size.operator) from error
    if abs(value) > LARGEST:
        raise UnknownSize(size.operator)
    return value


def names_in(size: Size) -> frozenset[str]:
    """The symbols that an expression reads."""
    if isinstance(size, Symbol):
        return frozenset({size.name})
    if isinstance(size, Term):
        return frozenset().union(*(names_in(part) for part in size.parts))
    return frozenset()


def solve(size: Size, value: int, symbols: Mapping[str, int]) -> dict[str, int]:
    """The one symbol that is not known yet, from what the expression comes to; empty where that does not tell it.

    `2*s0 == 8` gives `s0 = 4`. Sums and products with known parts are undone, nothing else.
    """
    if isinstance(size, Symbol):
        return {} if size.name in symbols else {size.name: value}
    if not isinstance(size, Term):
        return {}
    unknown = [part for part in size.parts if names_in(part) - set(symbols)]
    if len(unknown) != 1 or size.operator not in ("Add", "Mul"):
        return {}
    try:
        known = [evaluate(part, symbols) for part in size.parts if part is not unknown[0]]
    except UnknownSize:
        return {}
    if size.operator == "Add":
        return solve(unknown[0], value - sum(known), symbols)
    factor = _product(*known)
    return solve(unknown[0], value // factor, symbols) if factor and value % factor == 0 else {}


def text(size: Size) -> str:
    """As a person writes it: `2*s0`."""
    if isinstance(size, int):
        return str(size)
    if isinstance(size, Symbol):
        return size.name
    signs = {"Add": " + ", "Mul": "*", "FloorDiv": "//", "Mod": " % ", "PythonMod": " % "}
    sign = signs.get(size.operator)
    if sign is None:
        return f"{size.operator}({', '.join(text(part) for part in size.parts)})"
    inner = (f"({text(part)})" if isinstance(part, Term) else text(part) for part in size.parts)
    return sign.join(inner)
