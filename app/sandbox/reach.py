"""Which files a child may touch: what Python and the libraries need to be loaded, its input, and its directory."""

import os
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import app
from app.sandbox.kernel.landlock import IOCTL_DEV, MAKE_REG, READ, READ_FILE, REMOVE_FILE, TRUNCATE, WRITE_FILE, Rule

# No links, devices, sockets or pipes; and no directories, so that one look tells how many files there are.
_IN_WORK = READ | WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/cuda", "/usr/local/nvidia")
# What libraries look at to choose their threads and instructions.
_MACHINE = ("/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/devices/system/node")
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")

# CUDA's driver finds its devices there and talks to them by commands on their files.
_OF_CUDA = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/proc/sys/vm", "/sys/bus/pci", "/sys/devices")
# It looks at its own process, and writes the names of the threads that it starts.
_OWN_PROCESS, _OWN_THREADS = ("/proc/self/status", "/proc/self/maps"), Path("/proc/self/task")


def rules(given: Sequence[Path], work: Path, *, cuda: bool) -> list[Rule]:
    """What a child may touch that reads `given` and writes into the directory `work`."""
    readable = [*map(Path, (*_LIBRARIES, *_MACHINE)), *code(), *given]
    found = [Rule(path, READ) for path in readable]
    found += [Rule(Path(path), READ_FILE | (WRITE_FILE if path == "/dev/null" else 0)) for path in _DEVICES]
    found.append(Rule(work, _IN_WORK))
    return found + (cuda_rules(Path("/dev")) if cuda else [])


@cache
def code() -> tuple[Path, ...]:
    """Where Python looks for modules; of the directory that holds the service itself, only its package."""
    own = Path(app.__file__).resolve().parent
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # Libraries that lie beside an interpreter of its own, and are loaded when they are needed: Intel's MKL, for one.
    standard.append(os.path.join(sys.base_prefix, "lib"))
    added = [*sys.path, *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    places = {Path(place).resolve() for place in added if place}
    # A checkout holds more than code: its data directory, by default.
    places = {place for place in places if not own.is_relative_to(place)}
    return (own, *sorted(places | {Path(place).resolve() for place in standard}))


def cuda_rules(devices: Path) -> list[Rule]:
    """The files of NVIDIA's driver: `/dev/nvidia0`, `/dev/nvidiactl`, `/dev/nvidia-uvm`, `/dev/nvidia-caps/...`."""
    found = [Rule(path, READ | WRITE_FILE | IOCTL_DEV) for path in sorted(devices.glob("nvidia*"))]
    found += [Rule(Path(path), READ) for path in (*_OF_CUDA, *_OWN_PROCESS)]
    return [*found, Rule(_OWN_THREADS, READ | WRITE_FILE)]
