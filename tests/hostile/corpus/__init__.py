"""Several hundred hostile files, each with the canary that would appear if anything in it ran."""

from collections.abc import Iterator
from pathlib import Path

from tests.hostile.corpus import archives, bombs, detours, gadgets, graphs, opcodes, safetensors, shadowing, tensors
from tests.hostile.corpus.case import Case, Recipe, canary_of, made

__all__ = ["Case", "Recipe", "canary_of", "corpus", "recipes"]

_SUBJECTS = (gadgets, detours, opcodes, shadowing, archives, bombs, tensors, safetensors, graphs)


def recipes() -> Iterator[Recipe]:
    for subject in _SUBJECTS:
        yield from subject.recipes()


def corpus(canaries: Path, heavy: bool = True) -> Iterator[Case]:
    """All files, one after the other: some are large."""
    return made((one for one in recipes() if heavy or not one.heavy), canaries)
