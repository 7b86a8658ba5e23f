"""How long a run takes before and after: both models side by side, in turns, on the worker's device."""

from app.engine.latency.contest import NOTHING_REPLACED, WHOLE_ONLY, Contest, Pair, Unmeasured
from app.engine.latency.measure import measure

__all__ = ["NOTHING_REPLACED", "WHOLE_ONLY", "Contest", "Pair", "Unmeasured", "measure"]
