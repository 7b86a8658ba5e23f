"""How much a child uses, seen from outside: what limits of the kernel can't hold it to is looked at again and again.

Memory is what is the child's alone and can't be dropped: anonymous and shared pages, swapped ones, and page tables. A
mapped file is not: its pages go when others need the room.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.sandbox.limits import Limits

INTERVAL_SECONDS = 0.02

Excess = Literal["memory", "written", "threads", "files"]

# Of the directory that a child writes into, which grows with its entries: some ten thousand files, all without content
# perhaps, which nobody counts as written. It can make no directories below.
_DIRECTORY_BYTES = 1 << 20

_MEMORY = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")


@dataclass(frozen=True, slots=True)
class Watch:
    """Over one child. `shared` is what it holds in common with its parent since it was forked."""

    process: Path
    work: Path
    limits: Limits
    shared: int

    @staticmethod
    def over(pid: int, work: Path, limits: Limits) -> "Watch":
        return Watch(Path(f"/proc/{pid}"), work, limits, _memory(_status(Path("/proc/self"))))

    def excess(self) -> Excess | None:
        """What the child uses too much of; None also where it is gone."""
        try:
            status = _status(self.process)
            if _memory(status) - self.shared > self.limits.memory:
                return "memory"
            if status["Threads"] > self.limits.threads:
                return "threads"
            if _written(self.process) > self.limits.written:
                return "written"
            if self.work.stat().st_size > _DIRECTORY_BYTES:
                return "files"
        except (OSError, KeyError):  # A process that has ended has no memory any more, or is not even there.
            return None
        return None


def _status(process: Path) -> dict[str, int]:
    """The figures of /proc/PID/status; sizes in bytes."""
    found: dict[str, int] = {}
    for line in (process / "status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        number, *unit = value.split() or [""]
        if number.isdigit():
            found[name] = int(number) * (1024 if unit == ["kB"] else 1)
    return found


def _memory(status: dict[str, int]) -> int:
    return sum(status[name] for name in _MEMORY)


def _written(process: Path) -> int:
    """Bytes handed to write(), or dirtied in mapped files, whichever is more."""
    lines = (process / "io").read_text(encoding="ascii").splitlines()
    found = {name: int(value) for name, _, value in (line.partition(":") for line in lines)}
    return max(found["wchar"], found["write_bytes"])
