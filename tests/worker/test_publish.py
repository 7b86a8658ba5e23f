"""What a child leaves is looked at before it is stored: real files of every kind that could lie there."""

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from app.jobs.job import Input, Job
from app.options import FuseOptions
from app.storage import LocalBlobs
from app.worker.publish import NotAResult, store

_SECRET = b"of somebody else"
_MODEL = b"fused"
_UPLOAD = b"upload"
_JOB = Job(
    id="a",
    state="running",
    phase="writing",
    options=FuseOptions(),
    input=Input("net.pt", len(_UPLOAD), hashlib.sha256(_UPLOAD).hexdigest(), "a/input"),
    output=None,
    problem=None,
    recognised=None,
    attempt=1,
    worker="w",
    created_at=0.0,
    started_at=0.0,
    finished_at=None,
    owner=None,
)


def _report(**changed: Any) -> dict[str, Any]:
    detected = {"family": None, "source": "", "model_class": "a.B", "dtype": "float32", "parameters": 1}
    counted = ("parameters", "batch_norms", "convolutions")
    counts = {f"{name}_{when}": 0 for name in counted for when in ("before", "after")}
    report: dict[str, Any] = {
        "summary": {
            **counts,
            **dict.fromkeys(("layers_replaced", "layers_refused", "layers_removed"), 0),
            **dict.fromkeys(("bytes_stripped", "bytes_saved_by_fusing"), 0),
        },
        "input": {
            "filename": "net.pt",
            "bytes": len(_UPLOAD),
            "sha256": hashlib.sha256(_UPLOAD).hexdigest(),
            "format": "torch-zip",
            "detected": detected,
        },
        "output": {
            "filename": "net.fused.pt",
            "bytes": len(_MODEL),
            "sha256": hashlib.sha256(_MODEL).hexdigest(),
            "format": "torch-zip",
        },
        "equivalence": None,
        **{name: [] for name in ("replaced", "refused", "removed")},
        "timings_seconds": {},
        "environment": {"fusebox": "0", "torch": "0", "python": "0", "device": "cpu"},
    }
    for path, value in changed.items():
        part, _, name = path.partition("__")
        report[part] = {**report[part], name: value} if name else value
    return report


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """As a good child leaves it; the test then makes it bad."""
    (tmp_path / "secret").write_bytes(_SECRET)
    work = tmp_path / "job" / "work"
    work.mkdir(parents=True)
    (work / "output").write_bytes(_MODEL)
    (work / "report.json").write_text(json.dumps(_report()))
    return tmp_path / "job"


def _stored(blobs: LocalBlobs, key: str) -> bytes:
    return b"".join(blobs.read(key, 0, 1 << 30))


def test_a_plain_file_and_its_report_are_stored(blobs: LocalBlobs, directory: Path) -> None:
    output = store(blobs, _JOB, directory)

    assert (output.filename, output.bytes) == ("net.fused.pt", len(_MODEL))
    assert output.sha256 == hashlib.sha256(_MODEL).hexdigest()
    assert _stored(blobs, output.model_key) == _MODEL
    assert json.loads(_stored(blobs, output.report_key))["input"]["filename"] == "net.pt"


def _symbolic(path: Path) -> None:
    path.symlink_to(path.parent.parent.parent / "secret")


def _hard(path: Path) -> None:
    path.hardlink_to(path.parent.parent.parent / "secret")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # such a name is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _directory(path: Path) -> None:
    path.mkdir()


def _nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize("which", ["output", "report.json"])
@pytest.mark.parametrize("make", [_symbolic, _hard, _pipe, _socket, _directory, _nothing])
def test_what_is_no_plain_file_of_its_own_is_not_stored(
    blobs: LocalBlobs, directory: Path, which: str, make: Any
) -> None:
    path = directory / "work" / which
    path.unlink()
    make(path)

    with pytest.raises(NotAResult, match="plain file"):
        store(blobs, _JOB, directory)

    assert blobs.idle_jobs(-10) == []
    assert (directory.parent / "secret").read_bytes() == _SECRET


@pytest.mark.parametrize(
    "lie",
    [
        {"output__bytes": 1},
        {"output__sha256": "ab" * 32},
        {"output__filename": "../../etc/passwd"},
        {"output__filename": "net.fused.exe"},
        {"output__filename": "other.fused.pt"},
        {"input__sha256": "ab" * 32},
        {"input__bytes": 7},
        {"input__filename": "other.pt"},
        {"model_key": "b/1/model"},
        {"replaced": "none"},
        {"summary": None},
    ],
)
def test_a_report_of_something_else_is_not_stored(blobs: LocalBlobs, directory: Path, lie: dict[str, Any]) -> None:
    (directory / "work/report.json").write_text(json.dumps({**_report(**lie)}))

    with pytest.raises(NotAResult):
        store(blobs, _JOB, directory)

    assert blobs.idle_jobs(-10) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"summary": 1}'])
def test_what_is_no_report_is_not_stored(blobs: LocalBlobs, directory: Path, text: bytes) -> None:
    (directory / "work/report.json").write_bytes(text)

    with pytest.raises(NotAResult, match="no report"):
        store(blobs, _JOB, directory)


def test_a_report_without_end_is_not_read(blobs: LocalBlobs, directory: Path) -> None:
    with (directory / "work/report.json").open("wb") as file:
        file.truncate((256 << 20) + 1)

    with pytest.raises(NotAResult, match="bytes"):
        store(blobs, _JOB, directory)


@pytest.mark.parametrize("filename", ["net.fused.pt2", "net.fused.onnx"])
def test_a_state_dict_may_have_become_a_program(blobs: LocalBlobs, directory: Path, filename: str) -> None:
    (directory / "work/report.json").write_text(json.dumps(_report(output__filename=filename)))

    assert store(blobs, _JOB, directory).filename == filename


def test_only_what_a_report_says_is_stored_and_not_its_bytes(blobs: LocalBlobs, directory: Path) -> None:
    text = json.dumps(_report())
    (directory / "work/report.json").write_text('{"summary": "first", ' + text[1:] + " " * 1000)

    output = store(blobs, _JOB, directory)

    stored = _stored(blobs, output.report_key)
    assert b"first" not in stored
    assert len(stored) < len(text) + 500
