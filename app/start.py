"""Where the console script begins: before any library is loaded, so that Ctrl-C ends it quietly from the first moment.

A library that is interrupted while it is being loaded may make anything of that; there is nothing to clean up yet.
"""

import os
import signal

_INTERRUPTED = 130  # as a shell says of a program that SIGINT ended


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell's background ignores it
        signal.signal(signal.SIGINT, _leave)
    from app.__main__ import main as run

    run()


def loaded() -> None:
    """From here on Ctrl-C is an exception again, and what was begun is cleaned up."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: object) -> None:
    os._exit(_INTERRUPTED)
