"""Where the console script begins: before any library is loaded, so that Ctrl-C ends it quietly from the first moment.

A module of its own, since to import a part of the package is to load all that the package needs.
"""

import os
import signal

_INTERRUPTED = 130  # as a shell says of a program that SIGINT ended


def main() -> None:
    """Run the command line; once it is loaded, Ctrl-C is its own affair."""
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # not where a shell's background ignores it
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(_INTERRUPTED))
    from fusebox_client.cli.main import main as run

    signal.signal(signal.SIGINT, heard)
    run()
