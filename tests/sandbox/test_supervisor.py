"""The sandbox with a real warm parent and real children."""

import os
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.options import FuseOptions
from app.report import Report
from app.sandbox.outcome import Died, Interrupted, Outcome, Overdue, Refused, Succeeded
from app.sandbox.supervisor import Forge
from app.sandbox.wire import Request
from tests.engine.graph_models import net, onnx_net
from tests.sandbox.asking import asked


@pytest.fixture
def job(tmp_path: Path, checkpoint: Path) -> Request:
    shutil.copyfile(checkpoint, tmp_path / "input")
    return asked(tmp_path, filename="yolov7.pt")


def _run(
    forge: Forge, job: Request, *, unwanted: Callable[[], bool] = lambda: False, seconds: float = 60
) -> tuple[Outcome, list[str]]:
    phases: list[str] = []
    return forge.run(job, on_phase=phases.append, unwanted=unwanted, seconds=seconds), phases


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_confined(pid: int) -> bool:
    """Its filter of system calls is the last thing that it takes on: it has given up all the rest by then."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "Seccomp:\t2" in status


def _at_work(forge: Forge, act: Callable[[int], None]) -> threading.Thread:
    """Do something to the next child, once it is there."""

    def wait() -> None:
        assert forge.pid is not None
        while not (found := [pid for pid in _children(forge.pid) if _is_confined(pid)]):
            time.sleep(0.001)
        act(found[0])

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_checkpoint_becomes_a_file_and_a_report_phase_by_phase(forge: Forge, job: Request, tmp_path: Path) -> None:
    outcome, phases = _run(forge, job)

    assert outcome == Succeeded()
    assert phases == ["reading", "fusing", "verifying", "writing"]
    report = Report.model_validate_json((tmp_path / "work/report.json").read_bytes())
    assert report.output.bytes == (tmp_path / "work/output").stat().st_size
    assert report.input.filename == "yolov7.pt"


def test_a_confined_child_times_both_models_where_it_is_asked_to(forge: Forge, tmp_path: Path) -> None:
    onnx_net(net(), tmp_path / "input", (1, 3, 16, 16))
    job = asked(tmp_path, filename="net.onnx", options=FuseOptions(benchmark=True))

    outcome, phases = _run(forge, job)

    assert outcome == Succeeded()
    assert phases == ["reading", "fusing", "verifying", "writing", "measuring"]
    latency = Report.model_validate_json((tmp_path / "work/report.json").read_bytes()).latency
    assert latency is not None
    assert latency.runtime.startswith("onnxruntime")
    assert [row.batch for row in latency.rows] == [1]


def test_a_file_that_is_no_checkpoint_is_refused_and_the_warm_parent_stays(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"These are notes, not weights.")
    job = asked(tmp_path, filename="notes.txt")
    before = forge.pid

    outcome, _ = _run(forge, job)

    assert isinstance(outcome, Refused)
    assert outcome.problem.remedy
    assert 400 <= outcome.problem.status < 500
    assert forge.pid == before


def test_a_disk_without_room_for_the_output_is_no_bug(forge: Forge, job: Request) -> None:
    # As `ulimit -f` does it, inherited by the child.
    assert forge.pid is not None
    before = resource.prlimit(forge.pid, resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    try:
        outcome, _ = _run(forge, job)
    finally:
        resource.prlimit(forge.pid, resource.RLIMIT_FSIZE, before)

    assert isinstance(outcome, Refused)
    assert (outcome.problem.code, outcome.problem.status) == ("disk-full", 507)


def test_an_unwanted_job_is_killed_within_a_second(forge: Forge, job: Request) -> None:
    stopper = _at_work(forge, lambda pid: os.kill(pid, signal.SIGSTOP))
    canceled = threading.Timer(0.5, lambda: None)
    canceled.start()
    began = time.monotonic()

    outcome, _ = _run(forge, job, unwanted=lambda: not canceled.is_alive())

    stopper.join()
    assert outcome == Interrupted()
    assert time.monotonic() - began < 1.5
    assert forge.pid is not None
    assert _children(forge.pid) == []


def test_a_job_whose_time_is_up_is_killed(forge: Forge, job: Request) -> None:
    stopper = _at_work(forge, lambda pid: os.kill(pid, signal.SIGSTOP))

    outcome, _ = _run(forge, job, seconds=0.5)

    stopper.join()
    assert outcome == Overdue()
    assert forge.pid is not None
    assert _children(forge.pid) == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_child_that_dies_is_told_with_its_signal(forge: Forge, job: Request, number: signal.Signals) -> None:
    killer = _at_work(forge, lambda pid: os.kill(pid, number))

    outcome, _ = _run(forge, job)

    killer.join()
    assert outcome == Died(f"signal {number.name}", out_of_memory=False)


def test_a_dead_warm_parent_takes_its_child_along_and_is_replaced(job: Request) -> None:
    with Forge(threads=1) as forge:
        forge.warm()
        first, seen = forge.pid, []

        def kill_parent(child: int) -> None:
            seen.append(child)
            os.kill(child, signal.SIGSTOP)
            assert first is not None
            os.kill(first, signal.SIGKILL)

        killer = _at_work(forge, kill_parent)

        outcome, _ = _run(forge, job)

        killer.join()
        assert isinstance(outcome, Died)
        time.sleep(0.1)
        assert not Path(f"/proc/{seen[0]}").exists() or "Z" in Path(f"/proc/{seen[0]}/stat").read_text()
        assert _run(forge, job)[0] == Succeeded()
        assert forge.pid != first


def test_a_warm_parent_that_dies_while_the_job_is_handed_over_costs_an_attempt_and_not_the_job(job: Request) -> None:
    with Forge(threads=1) as forge:
        forge.warm()
        assert forge._lines is not None
        forge._lines.sock.shutdown(socket.SHUT_WR)  # As if it had closed its end, and were not known as dead yet.

        assert isinstance(_run(forge, job)[0], Died)

        assert _run(forge, job)[0] == Succeeded()


def test_a_child_has_neither_the_workers_environment_nor_its_files(
    monkeypatch: pytest.MonkeyPatch, job: Request, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("FUSEBOX_DATABASE_URL", "postgresql://user:secret@db/fusebox")
    seen: dict[str, object] = {}

    def look(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        process = Path(f"/proc/{pid}")
        seen["environment"] = (process / "environ").read_bytes()
        seen["files"] = [os.readlink(link) for link in (process / "fd").iterdir()]
        seen["status"] = (process / "status").read_text()
        seen["limits"] = (process / "limits").read_text()
        os.kill(pid, signal.SIGCONT)

    # Held open by the worker: a database or a socket would be as well.
    with Forge(threads=1) as forge, (tmp_path / "of-the-worker").open("w"):
        forge.warm()
        looker = _at_work(forge, look)
        assert _run(forge, job)[0] == Succeeded()
        looker.join()

    assert b"secret" not in seen["environment"]  # type: ignore[operator]
    assert not [name for name in seen["files"] if "of-the-worker" in name]  # type: ignore[attr-defined]
    # Its channel to the worker, and not the warm parent's.
    assert len([name for name in seen["files"] if "socket" in name]) == 1  # type: ignore[attr-defined]
    assert "NoNewPrivs:\t1" in str(seen["status"])
    core = next(line for line in str(seen["limits"]).splitlines() if "core" in line)
    assert core.split()[4:6] == ["0", "0"]
