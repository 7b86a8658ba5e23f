"""Children that are not ours, in the real sandbox: too much of everything, and answers that no child gives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.limits import Limits
from app.sandbox.outcome import Died, Excessive, Forbidden, Outcome, Overdue, Refused, Succeeded
from app.sandbox.supervisor import Forge
from tests.sandbox.asking import asked

_ROOT = Path(__file__).resolve().parent.parent.parent
_SMALL = Limits(memory=256 << 20, written=128 << 20, threads=50)
_IMPORTS = """
import sys
from pathlib import Path
from app.sandbox.supervisor import Forge
from tests.sandbox.asking import asked
"""
_RECOGNISED = {"family": "YOLOv7", "source": "ema", "model_class": "a.B", "dtype": "float32", "parameters": 1}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Forge]:
    with Forge(threads=1, program="tests.sandbox.stand_in") as forge:
        forge.warm()
        yield forge


def _run(forge: Forge, directory: Path, act: str, *, limits: Limits = _SMALL, seconds: float = 60) -> Outcome:
    (directory / "input").write_bytes(b"upload")
    job = asked(directory, filename=act, limits=limits)
    return forge.run(job, on_phase=lambda _: None, unwanted=lambda: False, seconds=seconds)


@pytest.mark.parametrize("mode", ["required", "off"])
def test_memory_that_is_shared_is_counted_and_the_child_is_killed(stand_in: Forge, tmp_path: Path, mode: str) -> None:
    (tmp_path / "input").touch()
    job = asked(tmp_path, filename="hold-shared", limits=_SMALL, mode=mode)

    assert stand_in.run(job, on_phase=lambda _: None, unwanted=lambda: False, seconds=60) == Excessive("memory")


def test_memory_of_its_own_fails_in_the_child_before_it_is_there(stand_in: Forge, tmp_path: Path) -> None:
    # The kernel's own limit is the first to be met; a child of ours answers `out-of-memory` then.
    assert _run(stand_in, tmp_path, "hold-anonymous") == Died("exit code 0", out_of_memory=False)


def test_page_tables_are_memory(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "page-tables") == Excessive("memory")


def test_a_bomb_of_threads_is_killed(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "threads", limits=_SMALL.model_copy(update={"memory": 4 << 30})) == Excessive(
        "threads"
    )


def test_a_disk_is_not_filled_with_files_that_nobody_sees(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "files") == Excessive("written")


def test_a_disk_is_not_filled_with_names_either(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "crowd") == Excessive("files")
    assert len(list((tmp_path / "work").iterdir())) < 200_000


def test_a_call_that_is_forbidden_ends_the_child_and_says_so(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "call-forbidden") == Forbidden()


def test_a_child_that_answers_and_stays_is_gone_before_its_answer_counts(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "answer-and-stay") == Succeeded()

    assert stand_in.pid is not None
    assert Path(f"/proc/{stand_in.pid}/task/{stand_in.pid}/children").read_text() == ""


def test_a_child_that_sleeps_is_killed_when_its_time_is_up(stand_in: Forge, tmp_path: Path) -> None:
    assert _run(stand_in, tmp_path, "sleep", seconds=0.3) == Overdue()


@pytest.mark.parametrize(
    "act",
    [
        *["flood", "deep", "endless", "say:", "say:null", "say:[]", "say:nonsense", 'say:{"kind": "root"}'],
        'say:{"kind": "finished", "path": "/etc/passwd"}',
        'say:{"kind": "exited", "code": 0}',
        'say:{"kind": "ready"}',
        'say:{"kind": "progress", "phase": "publishing"}',
        'say:{"kind": "progress", "phase": "writing"}\n{"kind": "progress", "phase": "reading"}',
        f'say:{{"kind": "recognised", "recognised": {json.dumps({**_RECOGNISED, "format": "x" * 5000})}}}',
        f'say:{{"kind": "recognised", "recognised": {json.dumps({**_RECOGNISED, "format": "nul" + chr(0)})}}}',
        "\n".join(
            [f'say:{{"kind": "recognised", "recognised": {json.dumps({**_RECOGNISED, "format": "x"})}}}'] * 2
        ).replace("\nsay:", "\n"),
    ],
)
def test_what_no_child_says_counts_as_death(stand_in: Forge, tmp_path: Path, act: str) -> None:
    assert _run(stand_in, tmp_path, act) == Died("it said what is no message", out_of_memory=False)


@pytest.mark.parametrize(
    "lie",
    [
        *[{"code": "made-up"}, {"status": 200}, {"status": 302}, {"title": "<script>"}, {"more": 1}],
        *[{"detail": "x" * 5000}, {"detail": "nul\0"}, {"remedy": "y" * 5000}, {"facts": {"a": float("nan")}}],
        *[{"facts": {"a": 10**400}}, {"facts": {str(n): n for n in range(2000)}}, {"facts": {"a": ["x" * 3999] * 100}}],
        {"facts": {"a": [[[[[[[[[["deep"]]]]]]]]]]}},
    ],
)
def test_a_problem_that_is_none_of_ours_counts_as_death(stand_in: Forge, tmp_path: Path, lie: dict[str, Any]) -> None:
    assert isinstance(_run(stand_in, tmp_path, f"problem:{json.dumps(lie)}"), Died)


def test_a_problem_of_ours_is_taken(stand_in: Forge, tmp_path: Path) -> None:
    outcome = _run(stand_in, tmp_path, 'problem:{"facts": {"names": ["os.system"]}}')

    assert isinstance(outcome, Refused)
    assert outcome.problem.facts == {"names": ["os.system"]}


def test_words_of_a_child_are_marked_made_harmless_and_cut(tmp_path: Path) -> None:
    program = (
        f"{_IMPORTS}\n"
        "directory = Path(sys.argv[1]); (directory / 'input').touch()\n"
        "with Forge(1, 'tests.sandbox.stand_in') as forge:\n"
        "    job = asked(directory, filename='talk')\n"
        "    print(forge.run(job, on_phase=id, unwanted=lambda: False, seconds=60))\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=_ROOT, capture_output=True, timeout=120, check=True
    )

    assert ended.stdout == b"Succeeded()\n"
    lines = ended.stderr.decode().splitlines()
    assert all(line.startswith("child: ") for line in lines)
    assert b"\x1b" not in ended.stderr
    assert len(ended.stderr) < 200_000
    assert "not shown" in lines[-1]


def test_no_child_outlives_a_worker_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    program = (
        f"{_IMPORTS}\n"
        "forge = Forge(1, 'tests.sandbox.stand_in')\nforge.warm()\nprint(forge.pid, flush=True)\n"
        "forge.run(asked(Path(sys.argv[1]), filename='sleep'), on_phase=id, unwanted=lambda: False, seconds=60)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    warm = int(worker.stdout.readline())
    children = Path(f"/proc/{warm}/task/{warm}/children")
    end = time.monotonic() + 30
    while not (found := children.read_text().split()) and time.monotonic() < end:
        time.sleep(0.01)
    (child,) = map(int, found)

    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()

    while not (_gone(child) and _gone(warm)):
        assert time.monotonic() < end
        time.sleep(0.01)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
