"""Small models of timm and torchvision, pickled by those packages, with what their own code computed of an input."""

import atexit
import json
import lzma
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.engine import fuse_checkpoint
from app.engine.formats import read_file
from app.engine.ir.module import Module
from app.options import FuseOptions
from app.report import Report

_DATA = Path(__file__).resolve().parents[2] / "data"


@cache
def _unpacked(package: str) -> Path:
    """A directory with the files of a package: they are kept packed, since pickled modules repeat themselves."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    for packed in (_DATA / package).glob("*.xz"):
        (Path(directory.name) / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    return Path(directory.name)


def files(package: str) -> list[Path]:
    return sorted(_unpacked(package).glob("*.pt"))


def file(package: str, name: str) -> Path:
    return _unpacked(package) / f"{name}.pt"


def facts(package: str) -> dict[str, Any]:
    """What the package's own re-parameterisation leaves of each file."""
    found: dict[str, Any] = json.loads((_DATA / package / "facts.json").read_text())
    return found


def root(path: Path) -> Module:
    return Module(read_file(path).root)


def oracle(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """(inputs, outputs) of the original code in float64, run on the fp32 weights of the file."""
    tensors = load_file(path.with_name(f"{path.stem}.oracle.safetensors"))
    inputs = [tensors[name].double() for name in sorted(tensors) if name.startswith("input")]
    return inputs, [tensors[name] for name in sorted(tensors) if name.startswith("output")]


def fused(path: Path, tmp_path: Path) -> tuple[Module, Report]:
    """The file after a whole job, and its report."""
    target = tmp_path / path.name
    report = fuse_checkpoint(path, target, FuseOptions(), filename=path.name)
    return root(target), report


def distance(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, relative to the size of its output."""
    assert [part.shape for part in found] == [part.shape for part in wanted]
    pairs = zip(found, wanted, strict=True)
    return max(float((ours.double() - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


ROUNDED = 64 * torch.finfo(torch.float32).eps  # what rounding the folded weights to fp32 may do to such small models
