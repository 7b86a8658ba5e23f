"""Looking at what the service needs, no more often than there is something new to see."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from app.api.schemas import Health

_FRESH_SECONDS = 0.5


@dataclass(slots=True)
class Readiness:
    """The last look: many may ask at once, and each look costs the database and the store something."""

    _seen: Health | None = None
    _looked_at: float = -math.inf
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def read(self, look: Callable[[], Health]) -> Health:
        async with self._lock:
            if self._seen is None or anyio.current_time() - self._looked_at > _FRESH_SECONDS:
                self._seen = await anyio.to_thread.run_sync(look)
                self._looked_at = anyio.current_time()
            return self._seen
