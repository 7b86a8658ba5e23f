from pathlib import Path

import pytest
import torch

from app.engine.formats import read_file, write_file


@pytest.fixture
def round_trip(tmp_path):
    """Save with torch, read and write with ours, load with torch."""

    def run(value, load=True, **options):
        source, target = tmp_path / "source.pt", tmp_path / "target.pt"
        torch.save(value, source, **options)
        file = read_file(source)
        write_file(file, file.root, target)
        return torch.load(target, weights_only=False) if load else target

    return run


@pytest.fixture
def checkpoints():
    """The directory of real training checkpoints beside the repository."""
    directory = Path(__file__).parents[4] / "shared" / "checkpoints"
    if not directory.is_dir():
        pytest.skip("no real checkpoints beside the repository")
    return directory
