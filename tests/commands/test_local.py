"""`fusebox fuse` and `fusebox inspect` as a user types them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.report import Inspection, Report

_ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def block() -> Path:
    """A checkpoint that is fused in no time."""
    return _ROOT / "tests" / "data" / "yolov7-blocks" / "RepConv_identity.pt"


def _fusebox(*arguments: object, directory: Path = _ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_fuse_writes_model_and_report_and_shows_a_summary(checkpoint: Path, tmp_path: Path) -> None:
    output, report_path = tmp_path / "o.pt", tmp_path / "r.json"

    ended = _fusebox("fuse", checkpoint, "-o", output, "--report", report_path, "--dtype", "float32", "--device", "cpu")

    assert ended.returncode == 0, ended.stderr
    report = Report.model_validate_json(report_path.read_bytes())
    assert report.output.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    for shown in ("parameters", "batch norms", "identity error", f"{report.summary.parameters_after:,}"):
        assert shown in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.pt", "r.json"]


def test_a_probe_of_ones_own_is_what_the_models_are_compared_on(checkpoint: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 64), np.float32))
    report_path = tmp_path / "r.json"

    ended = _fusebox(
        "fuse", checkpoint, "-o", tmp_path / "o.pt", "--report", report_path, "--probe", tmp_path / "x.npy"
    )

    assert ended.returncode == 0, ended.stderr
    report = Report.model_validate_json(report_path.read_bytes())
    assert report.equivalence is not None
    assert report.equivalence.probe.shape == ((1, 3, 32, 64),)
    assert "no file" in _fusebox("fuse", checkpoint, "-o", tmp_path / "p.pt", "--probe", tmp_path / "none.npy").stderr


def test_json_and_markdown_go_to_standard_output_and_nothing_else_does(block: Path, tmp_path: Path) -> None:
    as_json = _fusebox("fuse", block, "-o", tmp_path / "o.pt", "--json")
    assert as_json.returncode == 0, as_json.stderr
    report = Report.model_validate_json(as_json.stdout)
    assert report.summary.layers_replaced == 1

    markdown = _fusebox("fuse", block, "-o", tmp_path / "o.pt", "--markdown").stdout
    assert markdown.startswith("# Fused: ")
    assert "torch.load" in markdown
    assert _fusebox("fuse", block, "-o", tmp_path / "o.pt").stdout == ""
    assert _fusebox("fuse", block, "-o", tmp_path / "o.pt", "--json", "--markdown").returncode == 2


def test_what_was_replaced_and_the_tree_of_layers_are_shown_without_colours_where_no_terminal_is(
    block: Path, tmp_path: Path
) -> None:
    shown = _fusebox("fuse", block, "-o", tmp_path / "o.pt", "--tree", "--all").stderr

    assert "YOLOv7 RepConv" in shown
    assert "before: RepConv" in shown
    assert "after: RepConv" in shown
    assert "rbr_reparam  Conv2d(" in shown
    assert "\x1b" not in shown


def test_inspect_says_what_is_in_a_file_as_json(checkpoint: Path) -> None:
    ended = _fusebox("inspect", checkpoint)

    assert ended.returncode == 0, ended.stderr
    assert (
        Inspection.model_validate_json(ended.stdout).input.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    )


def test_a_file_that_is_no_checkpoint_is_refused_in_two_readable_lines(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("These are notes, not weights.")

    for arguments in (("fuse", notes, "-o", tmp_path / "o.pt"), ("inspect", notes)):
        ended = _fusebox(*arguments)

        assert ended.returncode == 1
        assert ended.stderr.startswith("unsupported-format: ")
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_input_is_never_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    model, link = tmp_path / "m.pt", tmp_path / "link.pt"
    model.write_bytes(checkpoint.read_bytes())
    link.symlink_to(model)
    before = model.read_bytes()

    for arguments in (("-o", model), ("-o", link), ("-o", tmp_path / "o.pt", "--report", model)):
        ended = _fusebox("fuse", model, *arguments)

        assert ended.returncode == 2
        assert "is the input" in ended.stderr
    assert model.read_bytes() == before


def test_a_limit_that_is_not_met_leaves_the_old_output_alone(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.pt"
    output.write_text("the good one")

    ended = _fusebox("fuse", checkpoint, "-o", output, "--max-error", "1e-300")

    assert (ended.returncode, ended.stderr.split(":")[0]) == (3, "not-equivalent")
    assert output.read_text() == "the good one"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such.pt", "-o", "o.pt"), "no-such.pt"),
        (("pyproject.toml", "-o", "LICENSE/o.pt"), "LICENSE is no folder"),
        (("pyproject.toml", "-o", "LICENSE/o/o.pt"), "LICENSE is no folder"),
        (("pyproject.toml", "-o", "-"), "standard output is for the report"),
        (("pyproject.toml", "-o", "/tmp/o.pt", "--max-error", "-1"), "--max-error is -1"),
        (("pyproject.toml", "-o", "/tmp/o.pt", "--report", "/tmp/o.pt"), "both model and report"),
        (("pyproject.toml", "-o", "/tmp/o.pt", "--report", "app"), "app is a folder"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple[str, ...], said: str) -> None:
    ended = _fusebox("fuse", *arguments)

    assert ended.returncode == 2
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_folders_on_the_way_to_output_and_report_are_made(block: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "a" / "b" / "o.pt", tmp_path / "c" / "d" / "r.json"

    assert _fusebox("fuse", block, "-o", output, "--report", report).returncode == 0

    assert output.stat().st_size == json.loads(report.read_text())["output"]["bytes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_no_folder_is_made_for_what_fails(checkpoint: Path, tmp_path: Path) -> None:
    ended = _fusebox("fuse", checkpoint, "-o", tmp_path / "a" / "o.pt", "--max-error", "1e-300")

    assert ended.returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_takes_the_fused_file_under_its_usual_name(block: Path, tmp_path: Path) -> None:
    assert _fusebox("fuse", block, "-o", tmp_path).returncode == 0

    stem, _, suffix = block.name.rpartition(".")
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.fused.{suffix}"]


@pytest.mark.parametrize("module", ["typer", "torch"])
def test_ctrl_c_while_libraries_are_loaded_ends_the_program_without_a_word(tmp_path: Path, module: str) -> None:
    """As numpy does, the stand-in makes something else of what interrupts it."""
    (tmp_path / f"{module}.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException as error:\n"
        "    raise RecursionError from error\n"
    )
    command = [sys.executable, "-c", "from app.start import main; main()", "fuse", "LICENSE", "-o", tmp_path / "o.pt"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    ended = subprocess.run(
        command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{_ROOT}"},
        capture_output=True,
        preexec_fn=heard,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(checkpoint: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    ended = _fusebox("fuse", checkpoint, "-o", pipe)

    assert (ended.returncode, "no plain file" in ended.stderr) == (2, True)
    assert pipe.is_fifo()


def test_a_link_stays_a_link_to_the_output(block: Path, tmp_path: Path) -> None:
    link, real = tmp_path / "link.pt", tmp_path / "elsewhere" / "real.pt"
    real.parent.mkdir()
    link.symlink_to(real)

    assert _fusebox("fuse", block, "-o", link).returncode == 0

    assert link.is_symlink()
    assert real.stat().st_size
    assert [path.name for path in real.parent.iterdir()] == ["real.pt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "/proc/o.pt"), "/proc/"),
        (("-o", "x" * 300), "File name too long"),
        (("-o", "o.pt", "--report", "/dev/full"), "No space left on device"),
    ],
)
def test_what_the_system_does_not_write_is_named_without_a_traceback(
    block: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = _fusebox("fuse", block, *arguments, directory=tmp_path)

    assert (ended.returncode, ended.stderr.split(":")[0]) == (2, "invalid-option")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_stopped_leaves_nothing_behind(long_job: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "app", "fuse", str(long_job), "-o", str(tmp_path / "o.pt")]
    # What runs in a shell's background inherits that SIGINT is ignored, and so would the command.
    heard = partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.DEVNULL, preexec_fn=heard) as process:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.01)

        process.send_signal(number)

        assert process.wait(20) == 128 + number
    assert list(tmp_path.iterdir()) == []
