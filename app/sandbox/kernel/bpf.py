"""The few instructions of classic BPF that a filter of system calls needs, and how a call is decided on.

A filter reads `struct seccomp_data` (include/uapi/linux/seccomp.h): number, architecture, instruction pointer and six
arguments of 64 bits, little-endian on both architectures that are known here.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

ALLOW = 0x7FFF_0000
KILL = 0x8000_0000  # the whole process, by SIGSYS
_ERRNO = 0x0005_0000


def refuse(errno: int) -> int:
    """The call is not made and answers this error."""
    return _ERRNO | errno


@dataclass(frozen=True, slots=True)
class Check:
    """`argument & mask == value`, of the argument's lower or upper 32 bits."""

    argument: int
    mask: int
    value: int
    upper: bool = False


# Any of these, each of which wants all of its checks.
Condition = tuple[tuple[Check, ...], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """What becomes of a system call, by its number."""

    architecture: int
    answers: Mapping[int, int]  # number -> ALLOW, KILL or refuse(...)
    conditions: Mapping[int, Condition]  # number -> when it is allowed; refused with `otherwise` if not
    otherwise: int
    newer: int  # what calls answer that are numbered from `newest` on and not named above
    newest: int
    foreign: int | None = None  # numbers from here on are another calling convention: killed


def assemble(filter_: Filter) -> bytes:
    """The filter as a program for the kernel."""
    program = [_instruction(_LOAD, _ARCHITECTURE), *_unless_equal(filter_.architecture, [_return(KILL)])]
    program += [_instruction(_LOAD, _NUMBER)]
    if filter_.foreign is not None:
        program += _if_at_least(filter_.foreign, [_return(KILL)])
    for number, answer in filter_.answers.items():
        program += _if_equal(number, [_return(answer)])
    for number, condition in filter_.conditions.items():
        program += _if_equal(number, _decide(condition, filter_.otherwise))
    program += _if_at_least(filter_.newest, [_return(filter_.newer)])
    return b"".join([*program, _return(filter_.otherwise)])


def _decide(condition: Condition, otherwise: int) -> list[bytes]:
    """Always ends in an answer, as it loads other words than the number."""
    program: list[bytes] = []
    for checks in condition:
        passed = [_return(ALLOW)]
        for check in reversed(checks):
            offset = _ARGUMENTS + 8 * check.argument + 4 * check.upper
            load = [_instruction(_LOAD, offset), _instruction(_AND, check.mask)]
            passed = [*load, *_if_equal(check.value, passed)]
        program += passed
    return [*program, _return(otherwise)]


def _if_equal(value: int, then: list[bytes]) -> list[bytes]:
    return [_instruction(_IF_EQUAL, value, 0, len(then)), *then]


def _unless_equal(value: int, then: list[bytes]) -> list[bytes]:
    return [_instruction(_IF_EQUAL, value, len(then), 0), *then]


def _if_at_least(value: int, then: list[bytes]) -> list[bytes]:
    return [_instruction(_IF_AT_LEAST, value, 0, len(then)), *then]


def _return(answer: int) -> bytes:
    return _instruction(_RETURN, answer)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """`struct sock_filter`; a jump is over at most 255 instructions."""
    return struct.pack("HBBI", code, if_true, if_false, operand)
