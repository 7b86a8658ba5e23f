"""YOLOv7's layer list as a graph of indices: who reads whom, and what a layer's number becomes when others go."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.engine.ir.module import Module


def read_by(layer: Module, index: int) -> list[int]:
    """Indices of the layers that this one reads; -1 is the image."""
    return absolute(layer.attribute("f"), index)


def absolute(source: Any, index: int) -> list[int]:
    """A layer's `f`: negative numbers count back from the layer itself."""
    sources = source if isinstance(source, list) else [source]
    return [index + number if number < 0 else number for number in sources]


def ancestors(starts: Sequence[int], sources: Sequence[Sequence[int]]) -> set[int]:
    """These layers and all that they read, directly or not."""
    found: set[int] = set()
    waiting = list(starts)
    while waiting:
        index = waiting.pop()
        if index >= 0 and index not in found:
            found.add(index)
            waiting.extend(sources[index])
    return found


def renumbered(source: Any, index: int, places: Mapping[int, int]) -> Any:
    """`f` of the layer at `index` when each layer takes its place in `places`; back-counting numbers stay such."""
    if isinstance(source, list):
        return [_renumbered(number, index, places) for number in source]
    return _renumbered(source, index, places)


def _renumbered(number: int, index: int, places: Mapping[int, int]) -> int:
    if number >= 0:
        return places[number]
    target = index + number
    return number if target < 0 else places[target] - places[index]


def saved(sources: Sequence[Any]) -> list[int]:
    """The model's `save`: all layers that are read by other than the next one, in order, as the authors list them."""
    numbers = []
    for index, source in enumerate(sources):
        for number in source if isinstance(source, list) else [source]:
            if number != -1:
                numbers.append(number % index if index else number)
    return sorted(numbers)
