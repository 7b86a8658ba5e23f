"""The whole table: the authors' checkpoints, every family of timm with a deploy form, and families without one."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from bench.families import table
from bench.families.census import PLAIN, families
from bench.families.ours import ROOT
from bench.families.results import Kept
from bench.families.row import AUTHORS, CHECKPOINTS

_KEPT = ROOT / ".bench" / "families.json"


def print_table(asked: tuple[str, ...]) -> None:
    """Rows as they come on stderr, the table on stdout at the end. Rows of the same code are not measured again."""
    kept = Kept(_KEPT)
    names = asked or all_rows()
    rows = []
    for at, name in enumerate(names, 1):
        rows.append(kept.measured(name))
        print(f"{at}/{len(names)}  {table.line(rows[-1])}", file=sys.stderr, flush=True)
    print(table.HEAD, *map(table.line, rows), "", table.verdict(rows), sep="\n")
    print(f"code {kept.code}, timm {version('timm')}, torch {version('torch')}, load {os.getloadavg()[0]:.1f}")


def all_rows() -> tuple[str, ...]:
    """The authors' checkpoints where they lie beside the project."""
    facts = CHECKPOINTS / "facts.json"
    there = json.loads(facts.read_text()) if facts.exists() else []
    return (*(AUTHORS + Path(fact["checkpoint"]).stem for fact in there), *families(), *PLAIN)
