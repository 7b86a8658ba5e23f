"""The rows of the report: one batch size after the other, as far as time and memory allow."""

import torch

from app.engine.latency.contest import Contest, Pair, Unmeasured
from app.engine.latency.sentence import sentence
from app.engine.latency.turns import medians, quartiles, take_turns
from app.report import Latency, LatencyRow

BATCHES = (1, 8)
WARMUP = 2
_FEWEST, _MOST = 5, 50  # turns
_SECONDS = 8.0  # that the turns of one row should take
_LONGEST = 40.0  # seconds of a further row, else it is left out
_MAX_BYTES = 2 << 30  # that one run may hold


def measure(contest: Contest, device: str) -> Latency | Unmeasured:
    """Both models at each batch size that they take."""
    rows: list[LatencyRow] = []
    for batch in BATCHES:
        pair = contest.at(batch)
        if pair is None or any(row.shape == pair.shapes for row in rows) or pair.bytes > _MAX_BYTES:
            continue
        if rows and _expected(rows[-1], pair) > _LONGEST:
            continue
        rows.append(_row(pair, device))
    if not rows:
        return Unmeasured("no batch size was found that fits the model and the memory")
    return Latency(
        device=device,
        dtype=contest.dtype,
        runtime=contest.runtime,
        threads=torch.get_num_threads(),
        warmup=WARMUP,
        repeats=rows[0].repeats,
        rows=tuple(rows),
        sentence=sentence(rows, contest.note),
    )


def _expected(row: LatencyRow, pair: Pair) -> float:
    """Seconds that the fewest turns would take, if time grows with the batch."""
    return (row.before_ms + row.after_ms) / 1000 * pair.batch / row.batch * (WARMUP + _FEWEST)


def _row(pair: Pair, device: str) -> LatencyRow:
    first = take_turns(pair, WARMUP, device)[-1]
    count = min(max(int(_SECONDS / (first.before + first.after)), _FEWEST), _MOST)
    turns = take_turns(pair, count, device)
    before, after, ratio = medians(turns)
    return LatencyRow(
        batch=pair.batch,
        shape=pair.shapes,
        before_ms=before,
        after_ms=after,
        ratio=ratio,
        spread=quartiles(turns),
        repeats=count,
    )
