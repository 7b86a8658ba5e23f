"""Seccomp: hands the kernel a filter of system calls, for all threads of this process and for good."""

import ctypes
import platform

from app.sandbox.kernel.bpf import KILL
from app.sandbox.kernel.numbers import ARCHITECTURES, Architecture
from app.sandbox.kernel.system import call

_SET_MODE_FILTER, _GET_ACTION_AVAILABLE = 1, 2
_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC
_INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def architecture() -> Architecture:
    """This machine's. Raises OSError where its system calls are not known here."""
    found = ARCHITECTURES.get(platform.machine())
    if found is None:
        raise OSError(f"the system calls of {platform.machine()} are not known here")
    return found


def ask() -> None:
    """Whether the kernel has filters that kill a process. Raises OSError where not, or where it may not be asked."""
    action = ctypes.c_uint32(KILL)
    call("seccomp", architecture().calls["seccomp"], _GET_ACTION_AVAILABLE, 0, ctypes.addressof(action))


def install(program: bytes) -> None:
    """From here on every system call is decided on by the program. Raises OSError. Needs no_new_privs."""
    wanted = _Program(len(program) // _INSTRUCTION_BYTES, program)
    address = ctypes.cast(ctypes.pointer(wanted), ctypes.c_void_p)
    failed = call("seccomp", architecture().calls["seccomp"], _SET_MODE_FILTER, _ALL_THREADS, address)
    if failed:
        raise OSError(f"seccomp: thread {failed} can't be confined")
