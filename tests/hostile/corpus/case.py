"""One hostile file: its bytes, and whether an unguarded loader would run what is in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """`fires`: torch.load(weights_only=False) runs the payload, so that the canary appears."""

    name: str
    content: bytes
    fires: bool = False
    options: tuple[tuple[str, str], ...] = ()


Maker = Callable[[Path], bytes]  # from the path of the canary to the file


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a case is made once it is known where its canary would appear. `heavy` ones take a second or more."""

    name: str
    make: Maker
    fires: bool = False
    options: tuple[tuple[str, str], ...] = ()
    heavy: bool = False

    def case(self, canary: Path) -> Case:
        return Case(self.name, self.make(canary), self.fires, self.options)


def canary_of(directory: Path, name: str) -> Path:
    """The file that would appear if the case of this name ran anything."""
    return directory / "".join(letter if letter.isalnum() else "-" for letter in name)


def made(recipes: Iterator[Recipe], canaries: Path) -> Iterator[Case]:
    for recipe in recipes:
        yield recipe.case(canary_of(canaries, recipe.name))
