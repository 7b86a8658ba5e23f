"""Matrices of rows, below one another, that have their dimensions again at once."""

from dataclasses import dataclass

from app.engine.ir.graph import Value


@dataclass(frozen=True, slots=True)
class Rows:
    """Known as what it is once its rows have their dimensions again."""

    value: Value
