"""What an ONNX graph computes: operator tables from ONNX to the small SSA form."""

from app.engine.forward.onnx.call import Dims, first_output
from app.engine.forward.onnx.follow import follow
from app.engine.forward.onnx.inner import captured, free, inner_graphs, needed
from app.engine.forward.onnx.operators.table import RANDOM
from app.engine.forward.onnx.ports import DEFAULTS_SINCE, defaults, ports

__all__ = [
    "DEFAULTS_SINCE",
    "RANDOM",
    "Dims",
    "captured",
    "defaults",
    "first_output",
    "follow",
    "free",
    "inner_graphs",
    "needed",
    "ports",
]
