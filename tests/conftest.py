"""What tests of several packages need."""

import lzma
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is loaded: threads that wait must not spin, or a busy machine takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before onnxruntime is: it would report to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real training checkpoint: the large YOLOv7 one where it is at hand, else a small one of the tests' own."""
    shipped = _ROOT.parent / "shared" / "checkpoints" / "yolov7.pt"
    if shipped.exists():
        return shipped
    own = tmp_path_factory.mktemp("checkpoint") / "yolov9-triple.pt"
    own.write_bytes(lzma.decompress((_ROOT / "tests/data/yolov9/yolov9-triple.pt.xz").read_bytes()))
    return own


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a Postgres of our own, on a free port of loopback, where this machine has one to start."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("Postgres is not installed")
    binaries = found[-1].parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="fusebox-postgres-"))
    # It refuses to run as root.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    shutil.chown(directory, user)
    run = {"cwd": directory, "user": user if os.getuid() == 0 else None, "stdout": subprocess.DEVNULL}
    subprocess.run([binaries / "initdb", "-D", directory / "db", "-A", "trust", "-U", "fusebox"], check=True, **run)
    server = subprocess.Popen(
        [binaries / "postgres", "-D", directory / "db", "-p", str(port), "-h", "127.0.0.1", "-k", directory],
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "20"]
        while subprocess.run(ready, check=False, **run).returncode != 0:
            assert server.poll() is None, "Postgres did not start"
        yield f"postgresql://fusebox@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for every client to leave
        server.wait(60)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that takes some seconds on any machine: a child must still be at work when it is stopped."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    blocks = [(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(200)]
    path = tmp_path_factory.mktemp("long") / "deep.pt"
    torch.save(nn.Sequential(*[layer for block in blocks for layer in block]).eval(), path)
    return path
