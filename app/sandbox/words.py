"""What a child says on its standard output and error: shown in the worker's log, but not for more than it is worth."""

import os
from dataclasses import dataclass

_MOST_BYTES = 64 << 10
_PIECE = 1 << 16
_STANDARD_ERROR = 2


@dataclass(slots=True)
class Words:
    """The reading end of a child's words. What is too much is read as well, or the child would wait for a reader."""

    descriptor: int
    shown: int = 0
    ended: bool = False

    def relay(self) -> None:
        """Show what has arrived. The descriptor must not block."""
        try:
            said = os.read(self.descriptor, _PIECE)
        except BlockingIOError:
            return
        self.ended = not said
        if self.shown < _MOST_BYTES and said:
            shown = printable(said[: _MOST_BYTES - self.shown])
            self.shown += len(said)
            more = "child: (it says more, which is not shown)\n" if self.shown >= _MOST_BYTES else ""
            os.write(_STANDARD_ERROR, (shown + more).encode())


def printable(said: bytes) -> str:
    """Lines that can neither command a terminal nor be taken for a line of somebody else."""
    lines = said.decode("utf-8", "backslashreplace").split("\n")
    safe = (
        "".join(one if one.isprintable() or one == "\t" else f"\\x{ord(one):02x}" for one in line) for line in lines
    )
    return "".join(f"child: {line}\n" for line in safe if line)
