"""Limits as the kernel has them afterwards, in a process of their own, and how much memory there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.sandbox.limits import machine_memory

_ROOT = Path(__file__).resolve().parent.parent.parent
_PROGRAM = """
import resource, sys
from app.sandbox.limits import Limits, hold
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
hold(Limits(memory=1 << 30, written=1 << 20, threads=9), cuda=sys.argv[1] == "cuda")
print(open("/proc/self/limits").read())
"""


def _held(*arguments: str) -> dict[str, tuple[str, str]]:
    shown = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {line[:26].strip(): (line[26:46].strip(), line[47:67].strip()) for line in shown.splitlines()[1:] if line}


def test_a_child_has_small_files_no_core_and_few_descriptors() -> None:
    held = _held("cpu")

    assert held["Max file size"] == (str(1 << 20), str(1 << 20))
    assert held["Max core file size"] == ("0", "0")
    assert held["Max open files"] == ("512", "512")
    assert held["Max locked memory"] == ("0", "0")
    assert 1 << 30 < int(held["Max data size"][0]) < 2 << 30


def test_with_cuda_private_and_locked_memory_are_left_to_the_watch() -> None:
    held = _held("cuda")

    assert held["Max data size"][0] == "unlimited"
    assert held["Max locked memory"][0] != "0"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_limit_that_is_lower_already_stays(device: str) -> None:
    assert _held(device, "lower")["Max file size"] == ("1000", "1000")


def test_memory_is_the_machines_at_most() -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))

    assert 0 < machine_memory() <= total
