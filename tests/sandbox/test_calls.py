"""The filter of system calls, run by an interpreter of the test's own for both architectures."""

import struct

import pytest

from app.sandbox.calls import child_filter
from app.sandbox.kernel.bpf import assemble
from app.sandbox.kernel.numbers import ARCHITECTURES

_PID = 4242
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_THREAD = 0x3D0F00  # what pthread_create asks of clone


def _decide(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel does with a filter: net/core/filter.c, for the instructions that are used here."""
    seccomp_data = struct.pack("<IIQ6Q", number, audit, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    code = [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", seccomp_data, k)
            case 0x54:
                accumulator &= k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"instruction {operation:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _answer(machine: str, name: str, *arguments: int, cuda: bool = False) -> int:
    architecture = ARCHITECTURES[machine]
    program = assemble(child_filter(architecture, _PID, cuda=cuda))
    return _decide(program, architecture.audit, architecture.calls[name], *arguments)


# Of asm/unistd_64.h and asm-generic/unistd.h, by hand.
@pytest.mark.parametrize(
    ("name", "x86_64", "aarch64"),
    [
        *[("read", 0, 63), ("openat", 257, 56), ("mmap", 9, 222), ("clone", 56, 220), ("ptrace", 101, 117)],
        *[("futex", 202, 98), ("newfstatat", 262, 79), ("prctl", 157, 167), ("exit_group", 231, 94)],
        *[("seccomp", 317, 277), ("clone3", 435, 435), ("getdents64", 217, 61), ("tgkill", 234, 131)],
    ],
)
def test_calls_have_the_numbers_of_the_kernel(name: str, x86_64: int, aarch64: int) -> None:
    assert (ARCHITECTURES["x86_64"].calls[name], ARCHITECTURES["aarch64"].calls[name]) == (x86_64, aarch64)


def test_no_two_calls_of_an_architecture_have_one_number(machine: str) -> None:
    numbers = list(ARCHITECTURES[machine].calls.values())

    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", ["read", "write", "futex", "munmap", "exit_group", "newfstatat", "unlinkat"])
def test_what_computing_needs_is_allowed(machine: str, name: str) -> None:
    assert _answer(machine, name) == _ALLOW


@pytest.mark.parametrize("name", ["ptrace", "bpf", "mount", "keyctl", "io_uring_setup", "process_vm_writev", "unshare"])
@pytest.mark.parametrize("cuda", [False, True])
def test_what_no_library_needs_is_answered_with_death(machine: str, name: str, cuda: bool) -> None:
    assert _answer(machine, name, cuda=cuda) == _KILL


# socket, connect, execve, kill, fork (x86_64 alone), chmod, memfd_create, pidfd_open, rt_sigqueueinfo, link
@pytest.mark.parametrize(
    ("machine_", "numbers"),
    [("x86_64", [41, 42, 59, 62, 57, 58, 90, 129, 86, 319]), ("aarch64", [198, 203, 221, 129, 53, 138, 37, 279])],
)
def test_what_is_not_named_is_refused(machine_: str, numbers: list[int]) -> None:
    architecture = ARCHITECTURES[machine_]
    program = assemble(child_filter(architecture, _PID, cuda=False))

    assert {_decide(program, architecture.audit, number) for number in numbers} == {_EPERM}


def test_calls_that_are_newer_are_unknown_so_that_libraries_fall_back(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = assemble(child_filter(architecture, _PID, cuda=False))

    assert {_decide(program, architecture.audit, number) for number in (424, 434, 450, 500)} == {_ENOSYS}
    assert _answer(machine, "clone3") == _ENOSYS
    assert _answer(machine, "close_range") == _ALLOW


def test_a_thread_may_be_started_and_no_process(machine: str) -> None:
    assert _answer(machine, "clone", _THREAD) == _ALLOW
    assert _answer(machine, "clone", 0x11) == _EPERM  # fork: SIGCHLD alone
    assert _answer(machine, "clone", _THREAD & ~0x10000) == _EPERM
    for namespace in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert _answer(machine, "clone", _THREAD | namespace) == _EPERM


def test_signals_go_to_the_process_itself_alone(machine: str) -> None:
    assert _answer(machine, "tgkill", _PID, _PID, 6) == _ALLOW
    assert _answer(machine, "tgkill", _PID + 1, _PID + 1, 6) == _EPERM
    # The kernel takes the lower half as the process.
    assert _answer(machine, "tgkill", (7 << 32) | (_PID + 1), 0, 6) == _EPERM


def test_limits_are_asked_for_and_not_set(machine: str) -> None:
    assert _answer(machine, "prlimit64", 0, 7, 0, 0x7FFF00000000) == _ALLOW
    assert _answer(machine, "prlimit64", 0, 7, 0x7FFF00000000, 0) == _EPERM  # its lower half is zero
    assert _answer(machine, "prlimit64", 0, 7, 16, 0) == _EPERM
    assert _answer(machine, "prlimit64", 99, 7, 0, 16) == _EPERM


def test_files_are_opened_with_a_name_and_not_emptied_by_readers(machine: str) -> None:
    assert _answer(machine, "openat", 0, 0, 0o2000000) == _ALLOW
    assert _answer(machine, "openat", 0, 0, 0o1 | 0o100 | 0o1000) == _ALLOW
    assert _answer(machine, "openat", 0, 0, 0o1000) == _EPERM
    assert _answer(machine, "openat", 0, 0, 0o20000000 | 0o2) == _EPERM


def test_only_commands_that_files_need_are_given_where_there_is_no_cuda(machine: str) -> None:
    tiocsti, tcgets, nvidia = 0x5412, 0x5401, 0xC020462A
    assert _answer(machine, "ioctl", 2, tcgets) == _ALLOW
    assert _answer(machine, "ioctl", 2, tiocsti) == _EPERM
    assert _answer(machine, "ioctl", 9, nvidia) == _EPERM
    assert _answer(machine, "ioctl", 9, nvidia, cuda=True) == _ALLOW


def test_cuda_has_a_local_socket_of_one_kind_and_nobody_to_speak_with(machine: str) -> None:
    unix, inet, stream, seqpacket, cloexec = 1, 2, 1, 5, 0o2000000
    assert {_answer(machine, "socket", unix, kind, cuda=True) for kind in (seqpacket, seqpacket | cloexec)} == {_ALLOW}
    for asked in ((unix, stream), (unix, stream | cloexec), (inet, seqpacket), (inet, stream), (16, 3)):
        assert _answer(machine, "socket", *asked, cuda=True) == _EPERM
    assert {_answer(machine, name) for name in ("socket", "bind", "listen", "memfd_create")} == {_EPERM}
    connect, accept = {"x86_64": (42, 43), "aarch64": (203, 202)}[machine]
    program = assemble(child_filter(ARCHITECTURES[machine], _PID, cuda=True))
    assert {_decide(program, ARCHITECTURES[machine].audit, one) for one in (connect, accept)} == {_EPERM}


def test_the_death_signal_can_not_be_taken_back(machine: str) -> None:
    assert _answer(machine, "prctl", 15) == _ALLOW
    assert {_answer(machine, "prctl", option) for option in (1, 4, 22, 35, 0x59616D61)} == {_EPERM}


def test_another_architecture_and_another_calling_convention_are_answered_with_death() -> None:
    program = assemble(child_filter(ARCHITECTURES["x86_64"], _PID, cuda=False))

    assert _decide(program, 0x40000003, 0) == _KILL  # i386
    assert _decide(program, 0xC00000B7, 0) == _KILL
    assert _decide(program, 0xC000003E, 0x40000000) == _KILL  # x32's read
    assert _decide(program, 0xC000003E, 0xFFFFFFFF) == _KILL
