"""Runs the engine on all hostile files in this process, without any sandbox; one line of JSON for each.

`python -m tests.hostile.alone DIRECTORY [light]`.
"""

import json
import resource
import sys
import time
from pathlib import Path

from app.engine import fuse_checkpoint
from app.errors import AppError
from app.options import FuseOptions
from tests.hostile.corpus import corpus

_ROOM = 3 << 30  # of addresses, beyond what the interpreter with torch has


def main() -> None:
    directory = Path(sys.argv[1])
    canaries = directory / "canaries"
    canaries.mkdir()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _ROOM, held + _ROOM))
    for case in corpus(canaries, heavy="light" not in sys.argv):
        (directory / "input").write_bytes(case.content)
        began = time.process_time()
        code, status = _answer(directory, dict(case.options))
        told = {"name": case.name, "code": code, "status": status, "seconds": time.process_time() - began}
        told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        print(json.dumps(told), flush=True)


def _answer(directory: Path, options: dict[str, str]) -> tuple[str, int]:
    try:
        asked = FuseOptions.model_validate(options)
        fuse_checkpoint(directory / "input", directory / "output", asked, filename="input")
    except AppError as error:
        return error.code, error.status
    return "fused", 200


if __name__ == "__main__":
    main()
