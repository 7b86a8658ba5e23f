"""Checkpoints of tests/data, fused."""

from pathlib import Path

from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report

_DATA = Path(__file__).parents[2] / "data"


def fused_report(folder: str, name: str, directory: Path) -> Report:
    """The report on a checkpoint."""
    source = _DATA / folder / f"{name}.pt"
    return fuse_checkpoint(source, directory / "fused.pt", FuseOptions(), filename=source.name)
