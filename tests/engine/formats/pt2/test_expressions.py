"""Texts of sizes in both notations, against sympy, which torch itself reads them with."""

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.formats.pt2.expressions import parse
from app.engine.ir.symbolic import Symbol, Term, UnknownSize, evaluate
from app.errors import UnsupportedContent


def drawn(leaf):
    pairs = st.tuples(leaf, leaf)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] - p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        st.tuples(leaf, st.integers(0, 3)).map(lambda p: p[0] ** p[1]),
        pairs.map(lambda p: sympy.Max(*p)),
    )


SYMBOLS = sympy.symbols("s0 s77", positive=True, integer=True)
EXPRESSIONS = st.recursive(
    st.one_of(st.integers(-9, 9).map(sympy.Integer), st.sampled_from(SYMBOLS)),
    drawn,
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, st.integers(1, 50), st.integers(1, 50))
def test_both_notations_have_the_value_that_sympy_gives(expression, first, second):
    expected = expression.subs({"s0": first, "s77": second})
    for name, value in (("s0", first), ("s77", second)):
        expected = expected.subs(sympy.Symbol(name, positive=True, integer=True), value)

    for written in (sympy.printing.repr.srepr(expression), str(expression)):
        try:
            assert evaluate(parse(written), {"s0": first, "s77": second}) == int(expected)
        except UnknownSize:
            assert abs(int(expected)) > 1 << 40


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("s77", Symbol("s77")),
        ("Symbol('s77', positive=True, integer=True)", Symbol("s77")),
        ("(s0 - 1)//2", Term("FloorDiv", (Term("Add", (Symbol("s0"), Term("Mul", (-1, 1)))), 2))),
        ("FloorDiv(Symbol('u3', integer=True), Integer(-2))", Term("FloorDiv", (Symbol("u3"), -2))),
        ("-3", -3),
    ],
)
def test_what_torch_writes_is_read(written, size):
    assert parse(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "Equality(Symbol('s0', integer=True), Integer(3))",
        "StrictLessThan(Integer(3), Symbol('s0'))",
        "And(GreaterThan(Symbol('s0'), Integer(2)), Not(Equality(Symbol('s1'), Integer(1))))",
        "Float('0.5', precision=53)",
        "Piecewise(ExprCondPair(Integer(1), true), ExprCondPair(Integer(2), false))",
    ],
)
def test_conditions_and_floats_are_let_through_without_a_value(written):
    with pytest.raises(UnknownSize):
        evaluate(parse(written), {"s0": 1, "s1": 2})


@pytest.mark.parametrize(
    "written",
    [
        *("", "s0 s1", "s0.real", "Foo(1)", "Symbol(s0)", "Symbol('s0'", "1 +", "s0[0]", "'s0'", "s0 if 1 else 2"),
        *("eval", "exit", "ｓ0", "s0__class__", "s0(1)"),
    ],
)
def test_anything_else_is_refused(written):
    with pytest.raises(UnsupportedContent):
        parse(written)


@pytest.mark.parametrize(
    "text",
    [
        *("10**999999999", "Pow(Pow(9, 9), 9)", "(2*s0)**99999999", "((2*s0)**60)**60", "LShift(1, 9999999999)"),
        *("FloorDiv(1, 0)", "s0 % 0", "-" * 60_000 + "1", "+".join(["s0"] * 5000), "*".join(["s0"] * 5000)),
        *("2**(3**4)", "Pow(2, LShift(1, 60))", "LShift(1, s0)"),
    ],
)
def test_what_a_loader_would_compute_without_end_is_refused(text):
    with pytest.raises(UnsupportedContent, match="expression"):
        parse(text)


def test_powers_and_long_sums_of_sizes_are_read():
    for text in ("s0**2", "Pow(Symbol('s0', positive=True), Integer(-1))", "2**s0", "+".join(["s0"] * 150)):
        parse(text)
