"""An operator as a format lists it, and what is said where there are too many of them."""

from dataclasses import dataclass

from app.report import MAX_LAYERS, Tree


@dataclass(frozen=True, slots=True)
class Listed:
    """An operator of a file: its name, which is that of its first output, its kind, and the numbers that it holds."""

    name: str
    kind: str
    parameters: int


def notes_on(tree: Tree | None) -> tuple[str, ...]:
    """What a report says where it lists no layers."""
    return () if tree is not None else (f"the model is not shown layer by layer: more than {MAX_LAYERS:,} layers",)
