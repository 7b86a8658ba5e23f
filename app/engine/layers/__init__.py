"""The model layer by layer, before and after: sizes, multiply-adds, and what became of each layer."""

from app.engine.layers.listed import Listed, notes_on
from app.engine.layers.modules import Changes, Edit, sketch, tree_of_modules
from app.engine.layers.multiply_adds import Totals, totals
from app.engine.layers.operators import totals_of_program, tree_of_operators

__all__ = [
    "Changes",
    "Edit",
    "Listed",
    "Totals",
    "notes_on",
    "sketch",
    "totals",
    "totals_of_program",
    "tree_of_modules",
    "tree_of_operators",
]
