"""Medians of several runs, and the peak memory of a process of its own."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable


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
