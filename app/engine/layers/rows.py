"""A layer as the report lists it."""

from app.report import Fate, Layer

_LONGEST = 500  # letters of a path


def row(
    path: str, kind: str, text: str, parameters: int, *, multiply_adds: int | None, fate: Fate, into: str | None
) -> Layer:
    """The layer, its paths cut where they are longer than any that a person reads."""
    return Layer(
        path=_short(path),
        kind=kind,
        text=text,
        parameters=parameters,
        multiply_adds=multiply_adds,
        fate=fate,
        into=None if into is None else _short(into),
    )


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST else f"{path[:_LONGEST]}..."
