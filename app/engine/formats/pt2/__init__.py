"""torch.export archives (.pt2): reader and writer."""

from app.engine.formats.pt2.census import count, listed
from app.engine.formats.pt2.pt2_file import Pt2File
from app.engine.formats.pt2.reader import read_pt2
from app.engine.formats.pt2.writing import operators_of, write_pt2

__all__ = ["Pt2File", "count", "listed", "operators_of", "read_pt2", "write_pt2"]
