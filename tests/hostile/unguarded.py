"""The positive control: torch.load without a guard, in a process of its own for each file that is said to run.

`python -m tests.hostile.unguarded DIRECTORY`; what the files do is no more than to make their canaries there.
"""

import contextlib
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

import torch

from tests.hostile.corpus import canary_of, recipes

_SECONDS = 20


def main() -> None:
    directory = Path(sys.argv[1])
    os.chdir(directory)
    for recipe in recipes():
        if recipe.fires:
            child = os.fork()
            if child == 0:
                Path("input").write_bytes(recipe.case(canary_of(directory, recipe.name)).content)
                _load(Path("input"))
            os.waitpid(child, 0)


def _load(file: Path) -> None:
    """Load (torch looks for more in a file than in bytes) and end the process, whatever the file does to it."""
    with contextlib.suppress(BaseException):
        signal.alarm(_SECONDS)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        warnings.simplefilter("ignore")
        torch.load(file, weights_only=False)
    os._exit(0)


if __name__ == "__main__":
    main()
