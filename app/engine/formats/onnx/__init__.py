"""Reading and writing of ONNX models."""

from app.engine.formats.onnx.archive import read_onnx_archive, runnable, write_onnx_archive
from app.engine.formats.onnx.bodies import bodies, restored, with_bodies
from app.engine.formats.onnx.counts import count, listed
from app.engine.formats.onnx.emit import operators_of
from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.reader import read_onnx
from app.engine.formats.onnx.writer import write_onnx

__all__ = [
    "OnnxFile",
    "bodies",
    "count",
    "listed",
    "operators_of",
    "read_onnx",
    "read_onnx_archive",
    "restored",
    "runnable",
    "with_bodies",
    "write_onnx",
    "write_onnx_archive",
]
