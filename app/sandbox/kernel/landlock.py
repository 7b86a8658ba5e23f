"""Landlock: which files this process and its threads may touch from now on, at all and for good.

Everything that the kernel's Landlock can forbid is forbidden; rules then allow some of it beneath paths. The kernel's
documentation: Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.kernel.system import call

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REG = 1 << 5, 1 << 8
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15

READ = READ_FILE | READ_DIR
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what a rule on a file itself may grant
_NETWORK = 0b11  # bind and connect TCP
_SCOPES = 0b11  # connecting to abstract sockets, and signals, outside of this confinement


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed on this file, or on this directory and all that lies beneath it."""

    path: Path
    rights: int


def version() -> int:
    """The kernel's version of Landlock, from 1 on. Raises OSError where it has none, or has it switched off."""
    return call("landlock", _CREATE_RULESET, 0, 0, _ASK_VERSION)


def file_rights(abi: int) -> int:
    """Every right on files that Landlock of this version knows."""
    # 13 at first; then linking and renaming between directories (2), truncating (3), device commands (5).
    return (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1


def restrict(rules: Iterable[Rule]) -> None:
    """Leave this process nothing but what the rules allow; what is not there is passed over. Raises OSError."""
    abi = version()
    known = file_rights(abi)
    wanted = _Ruleset(known, _NETWORK if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = call("landlock_create_ruleset", _CREATE_RULESET, _address(wanted), size, 0)
    try:
        for rule in rules:
            _allow(ruleset, rule.path, rule.rights & known)
        call("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        granted = rights if path.is_dir() else rights & _OF_FILES
        beneath = _PathBeneath(granted, descriptor)
        call(f"landlock_add_rule for {path}", _ADD_RULE, ruleset, _PATH_BENEATH, _address(beneath), 0)
    finally:
        os.close(descriptor)


def _address(structure: ctypes.Structure) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.pointer(structure), ctypes.c_void_p)
