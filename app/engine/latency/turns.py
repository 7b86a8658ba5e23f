"""The clock: two models take turns, so that whatever else the machine does meets both alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from app.engine.latency.contest import Pair


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds of one run of each."""

    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.before / self.after


def take_turns(pair: Pair, count: int, device: str) -> list[Turn]:
    """So many turns; the one that goes first changes with each."""
    turns = []
    for number in range(count):
        if number % 2:
            after, before = _seconds(pair.after, device), _seconds(pair.before, device)
        else:
            before, after = _seconds(pair.before, device), _seconds(pair.after, device)
        turns.append(Turn(before, after))
    return turns


def _seconds(step: Callable[[], object], device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    step()
    _wait(device)
    return max(time.perf_counter() - start, 1e-9)


def _wait(device: str) -> None:
    """CUDA returns before it has computed."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def medians(turns: Sequence[Turn]) -> tuple[float, float, float]:
    """Before and after in milliseconds, and the ratio of the two within a turn."""
    return (
        1000 * statistics.median(turn.before for turn in turns),
        1000 * statistics.median(turn.after for turn in turns),
        statistics.median(turn.ratio for turn in turns),
    )


def quartiles(turns: Sequence[Turn]) -> tuple[float, float]:
    """The lower and the upper quartile of the ratios."""
    low, _, high = statistics.quantiles((turn.ratio for turn in turns), n=4, method="inclusive")
    return low, high
