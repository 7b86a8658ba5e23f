"""Reads the texts of symbolic sizes. torch evaluates them with sympy; here only what it writes itself is let through.

Two notations: `Mul(Integer(2), Symbol('s0', positive=True))` of newer files and `2*s0` of older ones.
"""

import re
from typing import Final

from app.engine.ir.symbolic import Size, Symbol, Term
from app.errors import UnsupportedContent

_LONGEST: Final = 1 << 16
_DEEPEST: Final = 100
_LONGEST_NUMBER: Final = 20
_LONGEST_CHAIN: Final = 200  # of terms or factors side by side, which nest in each other
_MOST_SIGNS: Final = 4
_WIDEST: Final = 64  # of exponents and shifts: a loader computes what is constant at once
_TOKEN: Final = re.compile(
    r"\s*(?:(\d+\.\d+(?:e[+-]?\d+)?|\d+)|([A-Za-z_]\w*)|'([\w.+-]*)'|(//|\*\*|[-+*%(),=/]))", re.ASCII
)
_SYMBOL: Final = re.compile(r"[A-Za-z_]{1,16}\d{1,9}", re.ASCII)  # s77, u0, zuf3
_KEYWORDS: Final = frozenset({"positive", "nonnegative", "negative", "integer", "real", "finite", "precision", "dps"})
# What sympy and torch.utils._sympy.functions call the operators of sizes and of conditions on them.
_CALLS: Final = frozenset(
    {
        "Add", "Mul", "Pow", "PowByNatural", "FloatPow", "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv",
        "FloatTrueDiv", "Mod", "PythonMod", "ModularIndexing", "Max", "Min", "Abs", "Identity", "Where", "Piecewise",
        "CeilToInt", "FloorToInt", "RoundToInt", "RoundDecimal", "TruncToInt", "TruncToFloat", "ToFloat", "LShift",
        "RShift", "floor", "ceiling", "sqrt", "IsNonOverlappingAndDenseIndicator", "And", "Or", "Not", "Equality",
        "Unequality", "Eq", "Ne", "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan", "Lt", "Le", "Gt",
        "Ge", "Rational",
    }
)  # fmt: skip
_DIVISIONS: Final = frozenset({"FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "Mod", "PythonMod"})
_POWERS: Final = frozenset({"Pow", "PowByNatural", "FloatPow"})
_SHIFTS: Final = frozenset({"LShift", "RShift"})
_CONSTANTS: Final = frozenset({"true", "false", "True", "False", "oo", "int_oo"})


class _Fault(Exception):
    pass


def parse(expression: str) -> Size:
    """The expression as a value. Raises UnsupportedContent for a text that torch's own exporter does not write."""
    try:
        if len(expression) > _LONGEST:
            raise _Fault
        return _Parser(_tokens(expression)).whole()
    except _Fault:
        shown = expression if len(expression) <= 100 else f"{expression[:100]}..."
        raise UnsupportedContent(
            f"the size {shown!r} is not an expression that torch.export writes",
            remedy="torch.export.load would evaluate it as Python. Export the model again with torch.export.save.",
        ) from None


def _tokens(expression: str) -> list[tuple[str, str]]:
    """Pairs of kind (number, name, text, sign) and content."""
    found: list[tuple[str, str]] = []
    at = 0
    stripped = expression.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise _Fault
        kind = ("number", "name", "text", "sign")[(match.lastindex or 1) - 1]
        found.append((kind, match[match.lastindex or 0]))
        at = match.end()
    return found


class _Parser:
    """Recursive descent: sums of products of powers of atoms."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    def whole(self) -> Size:
        size = self._sum()
        if self._at != len(self._tokens):
            raise _Fault
        return size

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, *signs: str) -> str | None:
        kind, content = self._next()
        if kind != "sign" or content not in signs:
            return None
        self._at += 1
        return content

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise _Fault

    def _sum(self) -> Size:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Fault
        left, links = self._product(), 0
        while sign := self._take("+", "-"):
            right, links = self._product(), _next_link(links)
            left = _term("Add", (left, right if sign == "+" else _term("Mul", (-1, right))))
        self._depth -= 1
        return left

    def _product(self) -> Size:
        left, links = self._signed(), 0
        names = {"*": "Mul", "//": "FloorDiv", "%": "Mod", "/": "IntTrueDiv"}
        while sign := self._take(*names):
            links = _next_link(links)
            left = _term(names[sign], (left, self._signed()))
        return left

    def _signed(self) -> Size:
        negative, signs = False, 0
        while sign := self._take("-", "+"):
            negative ^= sign == "-"
            signs += 1
        if signs > _MOST_SIGNS:
            raise _Fault
        size = self._atom()
        if self._take("**"):
            size = _term("Pow", (size, self._atom()))
        if not negative:
            return size
        return -size if isinstance(size, int) else _term("Mul", (-1, size))

    def _atom(self) -> Size:
        if self._take("("):
            inner = self._sum()
            self._expect(")")
            return inner
        kind, content = self._next()
        self._at += 1
        if kind == "number":
            return _number(content)
        if kind != "name":
            raise _Fault
        return self._call(content) if self._take("(") else _name(content)

    def _call(self, name: str) -> Size:
        if name in ("Symbol", "Float", "Integer"):
            return self._leaf(name)
        if name not in _CALLS:
            raise _Fault
        parts: list[Size] = []
        while not self._take(")"):
            if parts:
                self._expect(",")
            parts.append(self._pair() if name == "Piecewise" else self._sum())
        return _term(name, tuple(parts))

    def _pair(self) -> Size:
        """`ExprCondPair(value, condition)` or a tuple of both."""
        if self._next() == ("name", "ExprCondPair"):
            self._at += 1
        self._expect("(")
        value = self._sum()
        self._expect(",")
        condition = self._sum()
        self._expect(")")
        return Term("ExprCondPair", (value, condition))

    def _leaf(self, name: str) -> Size:
        """`Symbol('s0', positive=True)`, `Float('0.5', precision=53)`, `Integer(-3)`."""
        negative = self._take("-") is not None
        kind, content = self._next()
        self._at += 1
        if kind != ("number" if name == "Integer" else "text"):
            raise _Fault
        while self._take(","):
            self._keyword()
        self._expect(")")
        if name == "Integer":
            size = _number(content)
            return -size if negative and isinstance(size, int) else size
        return Term("Float", ()) if name == "Float" else _name(content)

    def _keyword(self) -> None:
        kind, content = self._next()
        self._at += 1
        if kind != "name" or content not in _KEYWORDS:
            raise _Fault
        self._expect("=")
        kind, content = self._next()
        self._at += 1
        if kind != "number" and content not in ("True", "False"):
            raise _Fault


def _next_link(links: int) -> int:
    if links >= _LONGEST_CHAIN:
        raise _Fault
    return links + 1


def _term(name: str, parts: tuple[Size, ...]) -> Size:
    """The term. A loader computes those of constants at once: none may be a number of many digits, or undefined."""
    last = parts[-1] if parts else 0
    if name in _DIVISIONS and last == 0:
        raise _Fault
    if name in _POWERS and not _is_small_power(parts):
        raise _Fault
    if name in _SHIFTS and not (isinstance(last, int) and 0 <= last <= _WIDEST):
        raise _Fault
    if name == "Mul" and all(isinstance(part, int) for part in parts) and len(parts) > _MOST_SIGNS:
        raise _Fault
    return Term(name, parts)


def _is_small_power(parts: tuple[Size, ...]) -> bool:
    """An exponent that is a small number, times those within; or unknown as long as sizes are, and no other within."""
    if len(parts) != 2:
        return False
    base, exponent = parts
    if isinstance(exponent, int):
        return max(abs(exponent), 1) * _height(base) <= _WIDEST
    return isinstance(exponent, (Symbol, Term)) and _height(base) == _height(exponent) == 1


def _height(size: Size) -> int:
    """The largest product of exponents, one within the other; more than any that passes where one is unknown."""
    if not isinstance(size, Term):
        return 1
    within = max(map(_height, size.parts), default=1)
    if size.operator in _SHIFTS:
        return _WIDEST + 1
    if size.operator not in _POWERS:
        return within
    exponent = size.parts[-1]
    return within * max(abs(exponent), 1) if isinstance(exponent, int) else _WIDEST + 1


def _number(digits: str) -> Size:
    if len(digits) > _LONGEST_NUMBER and digits.isdigit():
        raise _Fault
    return int(digits) if digits.isdigit() else Term("Float", ())


def _name(name: str) -> Size:
    if name in _CONSTANTS:
        return Term(name, ())
    if not _SYMBOL.fullmatch(name):
        raise _Fault
    return Symbol(name)
