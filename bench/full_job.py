"""A whole job in a process of its own: time without and with verification beside `cp`, and peak memory."""

import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import run_python

RUNS = 3

_JOB = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[4]))
bare = peak_mib()
from app.engine import fuse_checkpoint
from app.options import FuseOptions
start = time.perf_counter()
fuse_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), FuseOptions(), filename='m.pt', verify=sys.argv[3] == '1')
print(json.dumps({'seconds': time.perf_counter() - start, 'bare': bare, 'peak': peak_mib()}))
"""

_FLOOR = """
import hashlib, json, sys, time
start = time.perf_counter()
content = open(sys.argv[1], 'rb').read()
hashlib.sha256(content)
with open(sys.argv[2], 'wb') as file:
    file.write(content)
print(json.dumps({'seconds': time.perf_counter() - start}))
"""


@dataclass(frozen=True, slots=True)
class JobFigures:
    plain_seconds: float
    verified_seconds: float
    floor_seconds: float  # read + sha256 + write
    cp_seconds: float
    peak_plain: float  # MiB beyond a bare `import torch`
    peak_verified: float
    size: float  # MiB of the checkpoint


def measure_job(source: Path, scratch: Path, threads: int = 1) -> JobFigures:
    target = scratch / "out.pt"
    plain = [_job(source, target, "0", threads) for _ in range(RUNS)]
    verified = [_job(source, target, "1", threads) for _ in range(RUNS)]
    floors = [json.loads(run_python(_FLOOR, str(source), str(target)))["seconds"] for _ in range(RUNS)]
    return JobFigures(
        statistics.median(run["seconds"] for run in plain),
        statistics.median(run["seconds"] for run in verified),
        statistics.median(floors),
        statistics.median(_copy(source, target) for _ in range(RUNS)),
        max(run["peak"] - run["bare"] for run in plain),
        max(run["peak"] - run["bare"] for run in verified),
        source.stat().st_size / 2**20,
    )


def _job(source: Path, target: Path, verify: str, threads: int) -> dict[str, float]:
    figures: dict[str, float] = json.loads(run_python(_JOB, str(source), str(target), verify, str(threads)))
    return figures


def _copy(source: Path, target: Path) -> float:
    start = time.perf_counter()
    shutil.copyfile(source, target)
    return time.perf_counter() - start
