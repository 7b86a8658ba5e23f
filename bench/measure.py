"""Medians of several runs, and the peak memory of one step or of a process of its own."""

import ctypes
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Sample:
    """Milliseconds by the wall clock and of processor time (user and system), and the most MiB beyond those before."""

    wall: float
    cpu: float
    peak: float


def medians(contenders: Mapping[str, Callable[[], Step]], runs: int) -> dict[str, Sample]:
    """The median of `runs` rounds after one that does not count. In a round each contender has its turn.

    A contender is called for its step before the clock starts: what it works on is ready by then.
    """
    found: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(runs + 1):
        for name, prepared in contenders.items():
            found[name].append(sample(prepared()))
    return {
        name: Sample(*(statistics.median(getattr(one, part) for one in samples[1:]) for part in Sample.__slots__))
        for name, samples in found.items()
    }


def sample(step: Step) -> Sample:
    """One run. The memory that others freed goes back before it, so that each pays for the pages that it touches."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _status("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    result = step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = _status("VmHWM") - before
    del result
    return Sample(1000 * wall, 1000 * cpu, peak)


def _status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def median_ms(step: Callable[[], object], runs: int) -> float:
    """Median wall-clock milliseconds of `runs` runs after one that does not count."""
    step()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


_PEAK = """
import resource, sys
def peak_mib():
    with open('/proc/self/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM')) / 1024
"""


def run_python(code: str, *arguments: str) -> str:
    """What a fresh Python prints. `peak_mib()` is there: the most memory that the process had resident, in MiB."""
    done = subprocess.run([sys.executable, "-c", _PEAK + code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
