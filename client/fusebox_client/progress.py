"""How far a transfer is: what a progress callback is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["upload", "download"]
_OFTEN = 0.05  # seconds between two calls, at least


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of so many bytes have been moved; `resumed` of them in an earlier attempt."""

    direction: Direction
    done: int
    total: int
    seconds: float
    resumed: int = 0

    @property
    def bytes_per_second(self) -> float:
        return (self.done - self.resumed) / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class Meter:
    """Counts the bytes of one attempt and tells the callback, not more often than anybody can look; the end always."""

    direction: Direction
    total: int
    told: Callable[[Progress], None]
    done: int = 0
    _resumed: int = field(init=False)
    _began: float = field(init=False, default_factory=time.monotonic)
    _last: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._resumed = self.done
        self._tell()

    def moved(self, count: int) -> None:
        self.done += count
        if self.done >= self.total or time.monotonic() - self._last >= _OFTEN:
            self._tell()

    def _tell(self) -> None:
        self._last = time.monotonic()
        seconds = self._last - self._began
        self.told(Progress(self.direction, self.done, self.total, seconds, self._resumed))


def unheard(_progress: Progress) -> None:
    """The callback of those who gave none."""
