"""Small checkpoints that the code bases' own classes wrote, with what those classes computed: tests/data/FAMILY/."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

_DATA = Path(__file__).resolve().parents[2] / "data"


def names(family: str) -> list[str]:
    return list(facts(family))


def facts(family: str) -> dict[str, Any]:
    """By name: parameters and, after the authors' own fuse step, parameters, batch norms and convolutions."""
    found: dict[str, Any] = json.loads((_DATA / family / "facts.json").read_text())
    return found


def checkpoint(family: str, name: str, folder: Path) -> Path:
    """The checkpoint, unpacked into the folder."""
    target = folder / f"{name}.pt"
    target.write_bytes(lzma.decompress((_DATA / family / f"{name}.pt.xz").read_bytes()))
    return target


def oracle(family: str, name: str) -> tuple[list[Tensor], list[Tensor]]:
    """(inputs, outputs) of the original classes in fp32; a file may hold the first outputs only."""
    tensors = load(lzma.decompress((_DATA / family / f"{name}.oracle.safetensors.xz").read_bytes()))
    return list(_numbered(tensors, "input")), list(_numbered(tensors, "output"))


def _numbered(tensors: dict[str, Tensor], kind: str) -> Iterator[Tensor]:
    count = sum(name.startswith(kind) for name in tensors)
    return (tensors[f"{kind}.{number}"] for number in range(count))
