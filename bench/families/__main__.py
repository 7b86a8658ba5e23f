"""python -m bench.families [NAME ...] [--speed]: what is left of timm's families, and how long the fuse step takes."""

import argparse
import warnings

import torch

from bench.families.speed import MODELS, print_speeds
from bench.families.whole import print_table


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    parser = argparse.ArgumentParser(prog="python -m bench.families", description=__doc__)
    parser.add_argument("names", nargs="*", help="models of timm, or authors/FAMILY; all where none is named")
    parser.add_argument("--speed", action="store_true", help="the times of the fuse step alone")
    asked = parser.parse_args()
    if not asked.speed:
        print_table(tuple(asked.names))
    if not asked.names or asked.speed:
        for name in asked.names or MODELS:
            print_speeds(name)


if __name__ == "__main__":
    main()
