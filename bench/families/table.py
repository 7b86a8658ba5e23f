"""The rows as a table for docs/benchmarks.md, and what is wrong with a row."""

from collections.abc import Iterator, Sequence
from typing import Any

from bench.families.results import Row

_WAYS = {"module": "pickled", "weights": "state dict"}
_COUNTS = ("norms", "convolutions", "parameters")
_EXACT = 1e-11

HEAD = (
    "| model | before | theirs | ours, pickled | ours, state dict | identity | scope "
    "| stored: theirs, ours | native: before, theirs, ours | seconds | MiB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    """One line of the table."""
    if "problem" in row:
        return f"| {row['name']} | {row['problem']} |"
    both = [row["module"], row["weights"]]
    lefts = [ours["left"] for ours in both]
    cells = (
        row["name"],
        _counts(row["before"]),
        _counts(row["theirs"]),
        *map(_counts, lefts),
        ", ".join(f"{ours['identity']:.0e}" for ours in both),
        ", ".join(ours["scope"] for ours in both),
        _errors(row["theirs"], *lefts, of="stored"),
        _errors(row["before"], row["theirs"], *lefts, of="native"),
        ", ".join(f"{ours['seconds']:.0f}" for ours in both),
        ", ".join(f"{ours['peak_mib']:.0f}" for ours in both),
    )
    return f"| {' | '.join(cells)} |"


def faults(row: Row) -> Iterator[str]:
    """What must not be: a row that is larger than theirs, has a norm left, or is not exact."""
    if "problem" in row:
        yield row["problem"]
        return
    for way, called in _WAYS.items():
        yield from (f"{called}: {what}" for what in _faults_of(row[way], row["theirs"]))


def _faults_of(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    if ours["problem"]:
        yield ours["problem"]
    if ours["left"] is None:
        return
    for what in _COUNTS:
        if ours["left"][what] > theirs[what]:
            yield f"{ours['left'][what]:,} {what}, theirs {theirs[what]:,}"
    if ours["left"]["norms"]:
        yield f"{ours['left']['norms']} norms left {ours['codes']}"
    if not ours["identity"] < _EXACT:
        yield f"identity {ours['identity']:.1e}"


def _counts(left: dict[str, Any] | None) -> str:
    return "-" if left is None else f"{left['norms']}, {left['convolutions']}, {left['parameters']:,}"


def _errors(*lefts: dict[str, Any] | None, of: str) -> str:
    """Ours last; once where both ways have the same error."""
    told = ["-" if left is None else f"{left[of]:.1e}".replace("nan", "-") for left in lefts]
    return ", ".join(told[:-1] if told[-2:-1] == told[-1:] else told)


def verdict(rows: Sequence[Row]) -> str:
    found = [(row["name"], list(faults(row))) for row in rows]
    wrong = [f"{name}: {'; '.join(what)}" for name, what in found if what]
    right = f"{len(found) - len(wrong)} of {len(found)} rows"
    return "\n".join([f"{right}: never larger than theirs, no norm left, identity below {_EXACT}", *wrong])
