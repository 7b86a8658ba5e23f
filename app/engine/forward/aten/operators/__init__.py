"""What each operator computes: one file a kind."""

from app.engine.forward.aten.operators.describe import describe
from app.engine.forward.aten.operators.identity import COPIES
from app.engine.forward.aten.operators.norms import NORMS

__all__ = ["COPIES", "NORMS", "describe"]
