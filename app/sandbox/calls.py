"""Which system calls a child may make. Whatever is not named here is refused."""

from errno import ENOSYS, EPERM

from app.sandbox.kernel.bpf import ALLOW, KILL, Check, Condition, Filter, refuse
from app.sandbox.kernel.numbers import Architecture

# Computing, threads that are there already, clocks, memory, and files that Landlock lets it open.
_ALLOWED = """
access arch_prctl brk clock_getres clock_gettime clock_nanosleep close close_range copy_file_range dup dup2 dup3
epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate
fdatasync flock fstat fstatfs fsync ftruncate futex get_robust_list getcpu getcwd getdents64 getegid geteuid getgid
getpgid getpid getppid getrandom getrlimit getrusage gettid gettimeofday getuid lseek lstat madvise membarrier mincore
mkdir mkdirat mprotect mremap msync munmap nanosleep newfstatat pipe2 poll ppoll pread64 preadv preadv2 pselect6
pwrite64 pwritev pwritev2 read readlink readlinkat readv rename renameat renameat2 restart_syscall rmdir rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield select sendfile set_robust_list
set_tid_address sigaltstack stat statfs statx sysinfo time times umask uname unlink unlinkat write writev
"""

# CUDA's driver is talked to by commands on its device files, which are all that can be opened, and pins memory. It does
# not start without a socket of its own name that others could ask for its memory; none ever can, as nobody may connect
# or accept here.
_FOR_CUDA = ["ioctl", "mlock", "mlock2", "munlock", "get_mempolicy", "set_mempolicy", "mbind", "bind", "listen"]

# No honest library ever comes here: the process dies by SIGSYS, and its job is not tried again.
_KILLED = """
acct add_key bpf chroot delete_module finit_module fsconfig fsmount fsopen init_module io_uring_enter
io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl modify_ldt mount mount_setattr
move_mount open_by_handle_at open_tree pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev
ptrace reboot request_key seccomp setns swapoff swapon umount2 unshare userfaultfd
"""

# What they are asked lies in memory, where a filter can't look; libraries then use the older calls.
_HIDDEN = ("clone3", "openat2")

# Calls from 2019 on have a fallback in every library that makes them, as kernels were older then.
_NEWEST = 424

_CLONE_THREAD = 0x0001_0000
# Namespaces, tracing and sharing with other processes: none of them has a place in a thread.
_CLONE_OTHER = 0x7E02_0000 | 0x0080_0000 | 0x0000_E000
_MAP_HUGETLB = 0x0004_0000  # is not counted as memory of the process
_AF_UNIX, _SOCK_SEQPACKET, _SOCK_CLOEXEC = 1, 5, 0o2000000
_MFD_HUGETLB = 4  # as MAP_HUGETLB
_O_ACCMODE, _O_TRUNC, _O_TMPFILE = 0o3, 0o1000, 0o20000000
# PR_SET_NAME, PR_GET_NAME, PR_GET_NO_NEW_PRIVS, PR_SET_VMA: names of threads and of memory, and a question.
_PRCTL = (15, 16, 39, 0x53564D41)
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030)  # F_DUPFD to F_SETLKW, F_DUPFD_CLOEXEC; none that sends signals
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX


def child_filter(architecture: Architecture, pid: int, *, cuda: bool) -> Filter:
    """The filter of the child that is process `pid`."""
    numbers = architecture.calls
    answers = {numbers[name]: ALLOW for name in (*_ALLOWED.split(), *(_FOR_CUDA if cuda else ())) if name in numbers}
    answers |= {numbers[name]: refuse(ENOSYS) for name in _HIDDEN}
    answers |= {numbers[name]: KILL for name in _KILLED.split() if name in numbers}
    found = _conditions(pid) | (_conditions_of_cuda() if cuda else {})
    conditions = {numbers[name]: when for name, when in found.items() if name in numbers}
    return Filter(
        architecture=architecture.audit,
        answers=answers,
        conditions={number: when for number, when in conditions.items() if number not in answers},
        otherwise=refuse(EPERM),
        newer=refuse(ENOSYS),
        newest=_NEWEST,
        foreign=architecture.foreign,
    )


def _conditions(pid: int) -> dict[str, Condition]:
    """Calls that are harmless with some arguments. Where the kernel takes an int, its upper half counts for nothing."""
    itself = (_equals(0, 0), _equals(0, 0, upper=True))
    return {
        "clone": ((Check(0, _CLONE_THREAD | _CLONE_OTHER, _CLONE_THREAD),),),
        "mmap": ((Check(3, _MAP_HUGETLB, 0),),),
        "open": _opening(1),
        "openat": _opening(2),
        "fcntl": _one_of(1, _FCNTL),
        "ioctl": _one_of(1, _IOCTL),
        "prctl": _one_of(0, _PRCTL),
        # abort() and raise(); never a signal to another process.
        "tgkill": ((_equals(0, pid),),),
        # To ask for limits, not to set any.
        "prlimit64": ((*itself, _equals(2, 0), _equals(2, 0, upper=True)),),
        "sched_setaffinity": ((_equals(0, 0),),),
    }


def _conditions_of_cuda() -> dict[str, Condition]:
    """What its driver needs to start: a local socket of the kind that is its own, and memory that is a file."""
    local = (_equals(0, _AF_UNIX),)
    return {
        "socket": tuple((*local, *kind) for kind in _one_of(1, (_SOCK_SEQPACKET, _SOCK_SEQPACKET | _SOCK_CLOEXEC))),
        "memfd_create": ((Check(1, _MFD_HUGETLB, 0),),),
    }


def _opening(flags: int) -> Condition:
    """No file without a name; and none that is emptied while it is opened to be read, which early Landlock missed."""
    unnamed = Check(flags, _O_TMPFILE, 0)
    return (
        (unnamed, Check(flags, _O_TRUNC, 0)),
        (unnamed, Check(flags, _O_ACCMODE, 1)),
        (unnamed, Check(flags, _O_ACCMODE, 2)),
    )


def _one_of(argument: int, values: tuple[int, ...]) -> Condition:
    return tuple((_equals(argument, value),) for value in values)


def _equals(argument: int, value: int, *, upper: bool = False) -> Check:
    return Check(argument, 0xFFFF_FFFF, value, upper)
