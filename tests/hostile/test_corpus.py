"""Nothing of a hostile file runs, by the parser alone: every one ends in a typed error, within its time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.corpus import canary_of, recipes

_ROOT = Path(__file__).resolve().parent.parent.parent
_CPU_SECONDS = 5
_PEAK_BYTES = 1536 << 20


def _python(module: str, *args: str) -> subprocess.CompletedProcess[str]:
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-m", module, *args], cwd=_ROOT, env=quiet, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, object]], Path]:
    """What the engine says of each file but the heavy ones, and where canaries would be."""
    directory = tmp_path_factory.mktemp("alone")
    done = _python("tests.hostile.alone", str(directory), "light")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {told[-1:]}:\n{done.stderr[-3000:]}"
    return told, directory / "canaries"


def test_there_are_several_hundred_different_files():
    names = [one.name for one in recipes()]

    assert len(set(names)) == len(names) > 800


def test_nothing_of_any_file_runs(answers):
    told, canaries = answers

    assert list(canaries.iterdir()) == []
    assert len(told) == sum(not one.heavy for one in recipes())


def test_every_file_is_answered_with_a_typed_error(answers):
    odd = [(one["name"], one["code"]) for one in answers[0] if not 400 <= one["status"] < 500]

    assert odd == []


def test_every_answer_keeps_to_its_budget(answers):
    told, _ = answers

    assert [one for one in told if one["seconds"] > _CPU_SECONDS] == []
    assert max(one["peak"] for one in told) < _PEAK_BYTES


def test_the_canaries_appear_in_a_loader_without_a_guard(tmp_path):
    done = _python("tests.hostile.unguarded", str(tmp_path))

    assert done.returncode == 0, done.stderr[-3000:]
    fired = [one.name for one in recipes() if canary_of(tmp_path, one.name).is_symlink() or _exists(tmp_path, one.name)]
    assert len(fired) > 120
    assert [one.name for one in recipes() if one.fires and one.name not in fired] == []


def _exists(directory: Path, name: str) -> bool:
    """Some functions put a suffix behind the name that they are given."""
    return any(directory.glob(f"{canary_of(directory, name).name}*"))
