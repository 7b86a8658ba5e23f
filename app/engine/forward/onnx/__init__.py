"""What an ONNX graph computes: operator tables from ONNX to the small SSA form."""

from app.engine.forward.onnx.call import Dims, first_output
from app.engine.forward.onnx.follow import follow
from app.engine.forward.onnx.inner import captured, inner_graphs
from app.engine.forward.onnx.operators.table import RANDOM
from app.engine.forward.onnx.ports import ports

__all__ = ["RANDOM", "Dims", "captured", "first_output", "follow", "inner_graphs", "ports"]
