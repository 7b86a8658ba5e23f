"""Symbolic sizes: evaluated, solved and written as people write them."""

import pytest

from app.engine.ir.symbolic import Symbol, Term, UnknownSize, evaluate, names_in, solve, text

S, T = Symbol("s0"), Symbol("s1")
TWICE = Term("Mul", (2, S))


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (3, 3),
        (S, 7),
        (TWICE, 14),
        (Term("Add", (S, T, -1)), 10),
        (Term("FloorDiv", (S, 2)), 3),
        (Term("CeilDiv", (S, 2)), 4),
        (Term("Mod", (S, T)), 3),
        (Term("Max", (S, T, 9)), 9),
        (Term("Pow", (S, 2)), 49),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(size, value):
    assert evaluate(size, {"s0": 7, "s1": 4}) == value


@pytest.mark.parametrize(
    "size",
    [
        Symbol("u0"),
        Term("FloorDiv", (S, 0)),
        Term("Pow", (S, 1000)),
        Term("Pow", (1 << 40, 64)),
        Term("Mul", (1 << 40, 1 << 40)),
        Term("Where", (S, 1, 2)),
        Term("FloorDiv", (S,)),
    ],
)
def test_what_has_no_value_is_unknown_and_costs_nothing(size):
    with pytest.raises(UnknownSize):
        evaluate(size, {"s0": 7})


def test_a_symbol_in_sums_and_products_is_solved_for():
    assert solve(S, 5, {}) == {"s0": 5}
    assert solve(Term("Add", (TWICE, 3)), 11, {}) == {"s0": 4}
    assert solve(Term("Mul", (S, T)), 12, {"s1": 3}) == {"s0": 4}


@pytest.mark.parametrize(
    "size", [3, TWICE, Term("Mul", (S, T)), Term("FloorDiv", (S, 2)), Term("Mul", (0, S)), Term("Add", (S, S))]
)
def test_what_does_not_tell_a_symbol_solves_for_none(size):
    assert solve(size, 7, {}) == {}


def test_a_known_symbol_is_not_solved_for_again():
    assert solve(S, 5, {"s0": 4}) == {}


def test_text_and_names():
    size = Term("Add", (Term("FloorDiv", (S, 2)), Term("Max", (1, T))))

    assert text(size) == "(s0//2) + (Max(1, s1))"
    assert names_in(size) == {"s0", "s1"}
