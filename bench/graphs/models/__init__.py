"""The rows of the table: what is built, exported and given to every tool."""

from bench.graphs.models.rows import ROWS, Row, Trained

__all__ = ["ROWS", "Row", "Trained"]
