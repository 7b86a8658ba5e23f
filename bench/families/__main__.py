"""python -m bench.families [NAME ...] [--speed]: what is left of timm's families, and how long the fuse step takes."""

import sys
import warnings

import torch

from bench.families.speed import MODELS, times
from bench.families.whole import print_table


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    asked = tuple(name for name in sys.argv[1:] if not name.startswith("-"))
    if "--speed" not in sys.argv:
        print_table(asked)
    if not asked or "--speed" in sys.argv:
        for name in asked or MODELS:
            _speeds(name)


def _speeds(name: str) -> None:
    print(f"fuse step, {name}, one thread, median ms")
    for what, milliseconds in times(name):
        print(f"  {milliseconds:9.1f}  {what}", flush=True)


if __name__ == "__main__":
    main()
