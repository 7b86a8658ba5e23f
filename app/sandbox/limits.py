"""How much a child may use: what the kernel holds it to, and what its parent looks after."""

import os
import resource
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

# A child that is alone with its job has no use for more.
_FILES = 512
_GROUPS = Path("/sys/fs/cgroup")


class Limits(BaseModel):
    """What one job may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int = Field(gt=0, description="Bytes that it may hold beyond what the warm parent holds already.")
    written: int = Field(gt=0, description="Bytes that it may write in all; no file may become larger.")
    threads: int = Field(gt=0)
    device_memory: int = Field(0, ge=0, description="Bytes that it may take of the GPU's memory; 0 for no limit.")


def hold(limits: Limits, *, cuda: bool) -> None:
    """Set what the kernel holds this process to; a limit that is lower already stays."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_FSIZE: limits.written,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if not cuda:
        # CUDA pins memory, and reserves far more addresses than there is memory.
        wanted[resource.RLIMIT_MEMLOCK] = 0
        # What fails here is told as a shortage at once; what is shared with others is found by the watch.
        wanted[resource.RLIMIT_DATA] = _data_bytes() + limits.memory
    for kind, value in wanted.items():
        soft, hard = (value if one == resource.RLIM_INFINITY else min(value, one) for one in resource.getrlimit(kind))
        resource.setrlimit(kind, (min(soft, hard), min(soft, hard)))


def _data_bytes() -> int:
    """Private writable memory that this process has mapped: that of the warm parent, which it shares."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def machine_memory() -> int:
    """Bytes of memory that this process and its children can have: the machine's, or its control group's if less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _groups():
        limit = group / "memory.max"
        if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
            found.append(int(text))
    return min(found)


def _groups() -> list[Path]:
    """The control group of this process and those around it (version 2)."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    inner = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    own = _GROUPS / inner
    return [own, *(outer for outer in own.parents if outer.is_relative_to(_GROUPS))]
