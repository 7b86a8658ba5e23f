"""Small models that the authors of published blocks wrote with their own code: files, outputs, and what theirs leaves.

`facts.json` beside them says for each what the authors' own conversion leaves: counts, and its state dict's shapes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from safetensors.torch import load_file
from torch import Tensor

from app.engine.formats import read_file, write_file
from app.engine.ir.checkpoint import find_model
from app.engine.ir.module import Module
from app.engine.ir.node import Global

T = TypeVar("T")

_DATA = Path(__file__).resolve().parents[2] / "data"
_SHIPPED = _DATA.parents[2] / "shared" / "checkpoints" / "families"
_FAMILIES = ("acnet", "dbb", "mobileone", "orepa", "qarepvgg", "replknet", "repvgg", "unireplknet")


@dataclass(frozen=True)
class Published:
    """One file of one family."""

    family: str
    path: Path

    def __str__(self) -> str:
        return f"{self.family}-{self.path.stem}"

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path.parent / "facts.json").read_text())[self.path.stem]
        return found

    @property
    def oracle(self) -> tuple[Tensor, Tensor]:
        tensors = load_file(self.path.with_suffix(".oracle.safetensors"))
        return tensors["input"], tensors["output"]

    def model(self) -> Module:
        return model_of(self.path)


def published(*families: str) -> list[Any]:
    """Every file of these families (all where none is named), as parameters of a test."""
    paths = [path for family in families or _FAMILIES for path in sorted((_DATA / family).glob("*.pt"))]
    return [pytest.param(Published(path.parent.name, path), id=f"{path.parent.name}-{path.stem}") for path in paths]


def file_of(family: str, name: str) -> Published:
    return Published(family, _DATA / family / f"{name}.pt")


def shipped(family: str) -> Path:
    """The larger file of a family that may lie beside the repository."""
    return _SHIPPED / f"{family}.pt"


def model_of(path: Path) -> Module:
    return find_model(read_file(path).root).module


def moved(source: Path, target: Path, *, module: str = "my_net.layers", added: str = "") -> Path:
    """The file as a user's copy of the code under another module path would have written it.

    `added` is an attribute that the user's classes have beyond the authors'.
    """

    def move(model: Module) -> None:
        for part in model.walk():
            if not part.class_path.startswith("torch."):
                part.set_class(Global(module, part.class_path.rpartition(".")[2]))
                part.state.update({added: 0.5} if added else {})

    return edited(source, target, move)[0]


def edited(source: Path, target: Path, edit: Callable[[Module], T]) -> tuple[Path, T]:
    """The file with its model edited, and what the edit gave."""
    file = read_file(source)
    given = edit(find_model(file.root).module)
    write_file(file, file.root, target)
    return target, given
