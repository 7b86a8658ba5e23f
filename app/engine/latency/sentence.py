"""What the figures say, in words, also where fusing does not help."""

from collections.abc import Iterable, Sequence

from app.report import LatencyRow

_NOTICEABLE = 0.02  # a ratio nearer to 1 than this is no difference that anybody would see


def sentence(rows: Sequence[LatencyRow], note: str = "") -> str:
    """One or two sentences on all rows."""
    faster = [row for row in rows if row.spread[0] > 1 and row.ratio >= 1 + _NOTICEABLE]
    slower = [row for row in rows if row.spread[1] < 1 and row.ratio <= 1 - _NOTICEABLE]
    same = [row for row in rows if row not in faster and row not in slower]
    parts = []
    if faster:
        parts.append(f"The fused model runs {_each(faster)}.")
    if same:
        parts.append(f"Fusing makes no difference that could be measured here {_at(same)}: {_why(note)}.")
    if slower:
        parts.append(
            f"The fused model runs slower here, {_each(slower)}: if speed on this device is all that counts, "
            "keep the original."
        )
    return " ".join(parts)


def _each(rows: Iterable[LatencyRow]) -> str:
    return " and ".join(f"{row.ratio:.2f} times as fast {_at([row])}" for row in rows)


def _at(rows: Sequence[LatencyRow]) -> str:
    return f"at batch size {' and '.join(str(row.batch) for row in rows)}"


def _why(note: str) -> str:
    return note or "what remains takes nearly all of the time, or the machine was too busy to tell"
