"""Two models that are ready to run one against the other."""

from collections.abc import Callable
from dataclasses import dataclass

Shapes = tuple[tuple[int, ...], ...]


NOTHING_REPLACED = "nothing was replaced, so there is nothing that could run faster"
WHOLE_ONLY = "the model is not followed as a whole"


@dataclass(frozen=True, slots=True)
class Pair:
    """Original and written model on inputs of these shapes. `bytes` is about what a run holds at most."""

    before: Callable[[], object]
    after: Callable[[], object]
    shapes: Shapes
    bytes: int

    @property
    def batch(self) -> int:
        """The first dimension of the first input that has one."""
        return next((shape[0] for shape in self.shapes if shape), 1)


@dataclass(frozen=True, slots=True)
class Contest:
    """Who runs the models, and the models at a batch size: None where they do not take it.

    A file that fixes its batch size gives that one whatever is asked for.
    """

    runtime: str
    dtype: str
    at: Callable[[int], Pair | None]
    note: str = ""  # what the runtime does by itself


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why there is nothing to run."""

    reason: str
