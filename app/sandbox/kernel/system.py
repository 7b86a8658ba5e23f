"""System calls that Python does not offer, by number, with the kernel's word as an OSError."""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def call(name: str, number: int, *arguments: int | ctypes.c_void_p) -> int:
    """Make a system call; `name` is only for the message. Raises OSError."""
    # As wide as a register each: ctypes would pass a plain int as 32 bits and leave the rest of the register as it was.
    wide = [one if isinstance(one, ctypes.c_void_p) else ctypes.c_ulong(one) for one in arguments]
    answer = int(LIBC.syscall(ctypes.c_long(number), *wide))
    if answer < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return answer


def prctl(option: int, value: int, *more: int) -> int:
    """Raises OSError."""
    wide = [ctypes.c_ulong(one) for one in (value, *more, 0, 0, 0)][:4]
    answer = int(LIBC.prctl(option, *wide))
    if answer < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")
    return answer
