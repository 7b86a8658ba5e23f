"""python -m bench.families [NAME ...] [--speed]: what is left of timm's families, and how long the fuse step takes."""

import sys
import warnings

import torch

from bench.families.speed import MODELS, print_speeds
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
            print_speeds(name)


if __name__ == "__main__":
    main()
