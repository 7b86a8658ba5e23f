"""Writing .pt2 archives: what stays, where new operators stand, and what they are written as."""

from app.engine.formats.pt2.writing.emission import operators_of
from app.engine.formats.pt2.writing.writer import write_pt2

__all__ = ["operators_of", "write_pt2"]
