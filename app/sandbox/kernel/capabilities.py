"""Capabilities: a service that runs as root, in a container for example, has all of them; its children have none."""

import ctypes
import os

from app.sandbox.kernel.system import LIBC

_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities() -> None:
    """Raises OSError. They can't come back: with no_new_privs no program that is started brings any."""
    none = (ctypes.c_uint32 * 6)()
    if LIBC.capset(ctypes.byref(_Header(_VERSION_3, 0)), none) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"capset: {os.strerror(errno)}")
