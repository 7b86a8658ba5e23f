"""Operators that change nothing go, what depends on constants alone is computed once, what is alike is one."""

from app.engine.formats.onnx.simplify.aliases import bypass
from app.engine.formats.onnx.simplify.arranging import arrange
from app.engine.formats.onnx.simplify.constants import fold_constants
from app.engine.formats.onnx.simplify.twins import share, unify

__all__ = ["arrange", "bypass", "fold_constants", "share", "unify"]
