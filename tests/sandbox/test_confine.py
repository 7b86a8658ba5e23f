"""A confined process of its own tries what it must not, with the real kernel."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent.parent

_PRELUDE = """
import ctypes, errno, json, os, signal, socket, sys, threading
from pathlib import Path
from app.sandbox.confine import Terms, confine
from app.sandbox.limits import Limits

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")

base = Path(sys.argv[1])
worker = os.getppid()
confine(Terms(sys.argv[2], (base / "input",), base / "work", Limits(memory=1 << 30, written=1 << 20, threads=99),
                      sys.argv[3] == "cuda"))
"""

# By name: what is tried, as Python.
_REFUSED = {
    "read /etc/passwd": "open('/etc/passwd')",
    "read the database": "open(base / 'fusebox.sqlite')",
    "list the directory of blobs": "os.listdir(base / 'blobs')",
    "read a blob of another job": "open(base / 'blobs/other')",
    "list the root": "os.listdir('/')",
    "list /proc": "os.listdir('/proc')",
    "list /dev": "os.listdir('/dev')",
    "read the worker's environment": "open(f'/proc/{worker}/environ', 'rb')",
    "read the worker's memory": "open(f'/proc/{worker}/mem', 'rb')",
    "read the worker's command line": "open(f'/proc/{worker}/cmdline')",
    "follow the worker's descriptors": "os.readlink(f'/proc/{worker}/fd/0')",
    "write its own memory as a file": "open('/proc/self/mem', 'r+b')",
    "write a file beside its directory": "open(base / 'beside', 'w')",
    "write into /tmp": "open('/tmp/fusebox-confined', 'w')",
    "write into /dev/shm": "open('/dev/shm/fusebox-confined', 'w')",
    "write the upload": "open(base / 'input', 'r+')",
    "empty the upload": "os.truncate(base / 'input', 0)",
    "empty the upload while opening it": "os.open(base / 'input', os.O_RDONLY | os.O_TRUNC)",
    "remove the upload": "os.unlink(base / 'input')",
    "move the upload": "os.rename(base / 'input', 'moved')",
    "move its output out": "os.rename('output', base / 'output')",
    "link the upload": "os.link(base / 'input', 'linked')",
    "link its output elsewhere": "os.symlink('/etc/passwd', 'symbolic')",
    "make a pipe with a name": "os.mkfifo('pipe')",
    "make a directory": "os.mkdir('d')",
    "make a device": "os.mknod('device', 0o20600, os.makedev(1, 3))",
    "make a file without a name": "os.open('.', os.O_TMPFILE | os.O_RDWR)",
    "give a file another mode": "os.chmod('output', 0o6777)",
    "give a file another owner": "os.chown('output', 1, 1)",
    "give a file an attribute": "os.setxattr('output', 'user.a', b'b')",
    "write a library": "open(json.__file__, 'r+')",
    "open a TCP socket": "socket.socket(socket.AF_INET)",
    "open a UNIX socket": "socket.socket(socket.AF_UNIX)",
    "open a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "open a pair of sockets": "socket.socketpair()",
    "connect a descriptor": "call(42, 1, 0, 0)",
    "send over a descriptor": "call(46, 1, 0, 0)",
    "fork": "os.fork()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "signal the worker": "os.kill(worker, 0)",
    "signal everybody": "os.kill(-1, 0)",
    "signal a thread of the worker": "call(234, worker, worker, 0)",
    "queue a signal to the worker": "call(129, worker, 10, 0)",
    "hold the worker": "os.pidfd_open(worker)",
    "change the worker's priority": "os.setpriority(os.PRIO_PROCESS, worker, 19)",
    "move the worker to another core": "os.sched_setaffinity(worker, {0})",
    "limit the worker": "call(302, worker, 7, 16, 0)",
    "raise its own limits": "call(302, 0, 1, 16, 0)",
    "outlive the worker": "call(157, 1, 0)",
    "leave its group": "os.setpgid(0, worker)",
    "begin a session": "os.setsid()",
    "become another user": "os.setuid(1)",
    "set its user": "call(105, 0)",
    "make memory that is a file": "os.memfd_create('m')",
    "share memory": "call(29, 0, 4096, 0o1600)",
    "have a queue of messages": "call(68, 0, 0o1600)",
    "watch files": "call(254)",
    "put bytes into a terminal": "call(16, 1, 0x5412, 0)",
    "take huge pages": "import mmap; mmap.mmap(-1, 1 << 21, flags=0x40022)",
    "look at performance": "call(298, 0, 0, 0, 0, 0)",
    "set the clock": "call(227, 0, 0)",
    "set the host's name": "call(170, 0, 0)",
}

_KILLED = {
    "ptrace": "call(101, 0, 0, 0, 0)",
    "process_vm_writev": "call(311, worker, 0, 0, 0, 0, 0)",
    "bpf": "call(321, 0, 0, 0)",
    "io_uring_setup": "call(425, 1, 0)",
    "userfaultfd": "call(323, 0)",
    "keyctl": "call(250, 0, 0, 0, 0, 0)",
    "mount": "call(165, 0, 0, 0, 0, 0)",
    "unshare": "call(272, 0x10000000)",
    "chroot": "os.chroot('.')",
    "a call by x32's numbers": "call(0x40000000 + 39)",
}

_ALLOWED = {
    "read the upload": "assert open(base / 'input').read() == 'upload'",
    "write, move and remove in its directory": "Path('a').write_text('x'); os.rename('a', 'b'); os.unlink('b')",
    "import what was not loaded yet": "import wave, sqlite3, xml.dom.minidom",
    "start a thread": "t = threading.Thread(target=int); t.start(); t.join()",
    "learn its number of cores": "assert open('/proc/cpuinfo').read() and os.listdir('/sys/devices/system/cpu')",
    "have random numbers": "assert os.urandom(8) and open('/dev/urandom', 'rb').read(8)",
    "map memory and a file": "import mmap; mmap.mmap(-1, 4096); f = open(base / 'input', 'rb'); "
    "mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)",
    "be told of a signal to itself": "signal.signal(10, lambda *_: None); signal.raise_signal(10)",
}

# What libcuda was seen to do when it starts, and what must not come of it.
_ALLOWED_WITH_CUDA = {
    "have a socket by which its memory could be asked for": "s = socket.socket(socket.AF_UNIX, "
    "socket.SOCK_SEQPACKET); s.bind(f'\\0cuda-uvmfd-{os.getpid()}'); s.listen()",
    # As pthread_setname_np does for a thread other than its own: cuInit fails where it can't.
    "name a thread that it started": "e = threading.Event(); t = threading.Thread(target=e.wait, daemon=True); "
    "t.start(); open(f'/proc/self/task/{t.native_id}/comm', 'r+').write('cuda-EvtHandlr'); e.set(); t.join()",
    "look at its own process": "assert open('/proc/self/maps').read() and open('/proc/self/status').read()",
    "make memory that is a file": "os.memfd_create('m')",
    "command a file that it opened": "import fcntl\ntry: fcntl.ioctl(open(base / 'input'), 0xC020462A)\n"
    "except OSError as error: assert error.errno == errno.ENOTTY",
}
_REFUSED_WITH_CUDA = {
    **{name: what for name, what in _REFUSED.items() if name not in _ALLOWED_WITH_CUDA},
    "write its own memory as a file": "open('/proc/self/mem', 'r+b')",
    "open a local socket of another kind": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "have a socket with a name in its directory": "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind('named')",
    "connect to others": "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('\\0anybody')",
    "take a connection": "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind('\\0x'); s.listen(); "
    "s.accept()",
    "make huge memory that is a file": "os.memfd_create('m', 4)",
    "see other processes": "os.listdir('/proc')",
    "see what is mounted": "open('/proc/mounts')",
    "see its own environment as a file": "open('/proc/self/environ', 'rb')",
}
# A pipe knows no such command: the filter lets it pass, and Landlock allows it on no device but NVIDIA's.
del _REFUSED_WITH_CUDA["put bytes into a terminal"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("job")
    (base / "work").mkdir()
    (base / "blobs").mkdir()
    for name in ("input", "fusebox.sqlite", "blobs/other"):
        (base / name).write_text("upload")
    (base / "work" / "output").write_text("output")
    return base


def _run(place: Path, source: str, mode: str = "required", device: str = "cpu") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-W", "ignore", "-c", _PRELUDE + source, str(place), mode, device]
    return subprocess.run(program, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)


def _results(place: Path, tried: dict[str, str], mode: str = "required", device: str = "cpu") -> dict[str, str | None]:
    """Of each, the name of the error, or None where there was none."""
    source = f"""
results = {{}}
for name, what in {tried!r}.items():
    try:
        exec(what)
        results[name] = None
    except OSError as error:
        results[name] = errno.errorcode[error.errno]
    except BaseException as error:
        results[name] = repr(error)
print(json.dumps(results))
"""
    ended = _run(place, source, mode, device)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.fixture(scope="module")
def refused(place: Path) -> dict[str, str | None]:
    return _results(place, _REFUSED)


@pytest.fixture(scope="module")
def allowed(place: Path) -> dict[str, str | None]:
    return _results(place, _ALLOWED)


pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of calls are those of x86_64")


@pytest.mark.parametrize("name", _REFUSED)
def test_a_confined_process_may_not(refused: dict[str, str | None], name: str) -> None:
    # EXDEV: a file can't be moved or linked into a directory where other things are allowed.
    assert refused[name] in ("EACCES", "EPERM", "ENOSYS", "EXDEV")


@pytest.mark.parametrize("name", _ALLOWED)
def test_a_confined_process_may(allowed: dict[str, str | None], name: str) -> None:
    assert allowed[name] is None


def test_with_cuda_a_process_may_do_what_its_driver_needs_and_no_more(place: Path) -> None:
    allowed = _results(place, _ALLOWED_WITH_CUDA, device="cuda")
    refused = _results(place, _REFUSED_WITH_CUDA, device="cuda")

    assert set(allowed.values()) == {None}, allowed
    assert {name: how for name, how in refused.items() if how not in ("EACCES", "EPERM", "ENOSYS", "EXDEV")} == {}


@pytest.mark.parametrize("name", _KILLED)
def test_a_confined_process_dies_of(place: Path, name: str) -> None:
    assert _run(place, _KILLED[name]).returncode == -signal.SIGSYS


def test_threads_are_confined_as_well(place: Path) -> None:
    source = (
        "threading.Thread(target=lambda: call(101, 0, 0, 0, 0)).start(); import time; time.sleep(5); print('alive')"
    )

    assert _run(place, source).returncode == -signal.SIGSYS


def test_without_the_sandbox_the_same_process_reads_and_connects(place: Path) -> None:
    # That it is the sandbox which refuses, and nothing else.
    tried = {name: _REFUSED[name] for name in ("read /etc/passwd", "read the database", "open a pair of sockets")}

    assert set(_results(place, tried, mode="off").values()) == {None}


def test_a_process_of_a_service_that_runs_as_root_has_no_rights_of_root(place: Path) -> None:
    ended = _run(place, "print(open('/proc/self/status').read())", mode="off")

    held = {line.split()[0]: line.split()[1] for line in ended.stdout.splitlines() if line.startswith("Cap")}
    assert {int(held[kind], 16) for kind in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")} == {0}


def test_a_file_of_more_than_the_limit_can_not_be_written(place: Path) -> None:
    large = {"write": "with open('large', 'wb') as file: file.write(bytes((1 << 20) + 1))"}

    assert _results(place, large)["write"] == "EFBIG"


def test_memory_beyond_the_limit_is_refused_at_once(place: Path) -> None:
    assert "MemoryError" in str(_results(place, {"take": "bytearray(2 << 30)"})["take"])


def test_a_process_that_has_threads_already_is_not_taken_for_confined(place: Path) -> None:
    before = _PRELUDE.replace(
        "confine(Terms", "threading.Thread(target=threading.Event().wait, daemon=True).start()\nconfine(Terms"
    )
    program = [sys.executable, "-c", before, str(place), "required", "cpu"]

    ended = subprocess.run(program, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "threads that exist already" in ended.stderr
