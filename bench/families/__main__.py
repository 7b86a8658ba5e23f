"""python -m bench.families [NAME ...] [--speed]: what is left of timm's families, and how long the fuse step takes."""

import sys
import warnings

import torch

from bench.families.left import FAMILIES, Left, Row, rows
from bench.families.speed import MODELS, times


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    asked = tuple(name for name in sys.argv[1:] if not name.startswith("-"))
    if "--speed" not in sys.argv:
        _table(asked or FAMILIES)
    if not asked or "--speed" in sys.argv:
        for name in asked or MODELS:
            _speeds(name)


def _table(names: tuple[str, ...]) -> None:
    print("batch norms / convolutions / parameters left; errors of stored numbers and of float32, against float64")
    for row in rows(names):
        print(row.name)
        print(f"  before  {_cells(row.before)}")
        print(f"  ours    {_cells(row.ours)}   identity {row.identity:.1e}  norms left {row.foldable}  {row.note}")
        print(f"  timm    {_cells(row.timm)}   {_verdict(row)}", flush=True)


def _cells(left: Left | None) -> str:
    if left is None:
        return "-"
    return (
        f"{left.norms:4} {left.convolutions:4} {left.parameters:11,}   "
        f"stored {left.stored:.1e}  native {left.native:.1e}"
    )


def _verdict(row: Row) -> str:
    if row.ours is None:
        return "not compared"
    pairs = (
        (row.ours.norms, row.timm.norms),
        (row.ours.convolutions, row.timm.convolutions),
        (row.ours.parameters, row.timm.parameters),
    )
    return "ours is never larger" if all(a <= b for a, b in pairs) else "OURS IS LARGER"


def _speeds(name: str) -> None:
    print(f"fuse step, {name}, one thread, median ms")
    for what, milliseconds in times(name):
        print(f"  {milliseconds:9.1f}  {what}", flush=True)


if __name__ == "__main__":
    main()
