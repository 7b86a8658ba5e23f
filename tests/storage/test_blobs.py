"""The contract of a blob store, held against every adapter."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from app.errors import CanNotStart, StorageUnavailable
from app.storage import BlobNotFound, Blobs, LocalBlobs, RemoteBlobs, input_key, job_prefix, open_blobs, output_keys

_ROOT = Path(__file__).resolve().parent.parent.parent
_ADAPTERS: dict[str, Callable[[Path], Blobs]] = {
    "local": lambda directory: LocalBlobs(directory / "blobs"),
    "object store": lambda _: RemoteBlobs(MemoryStore()),
}


@pytest.fixture(params=sorted(_ADAPTERS))
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return _ADAPTERS[request.param](tmp_path)


def _store(blobs: Blobs, key: str, *pieces: bytes) -> None:
    upload = blobs.upload(key)
    for piece in pieces:
        upload.write(piece)
    upload.commit()


def _read(blobs: Blobs, key: str, start: int = 0, stop: int = 1 << 30) -> bytes:
    return b"".join(blobs.read(key, start, stop))


def test_an_upload_reads_back_as_it_was_written(blobs: Blobs) -> None:
    pieces = [os.urandom(3_000_000), b"", os.urandom(1)]

    _store(blobs, input_key("a"), *pieces)

    assert _read(blobs, input_key("a"), 0, 3_000_001) == b"".join(pieces)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 7), (9, 10), (4, 4)])
def test_a_part_is_that_part(blobs: Blobs, start: int, stop: int) -> None:
    _store(blobs, "a/input", b"0123456789")

    assert _read(blobs, "a/input", start, stop) == b"0123456789"[start:stop]


def test_an_aborted_upload_leaves_nothing(blobs: Blobs) -> None:
    begun, done = blobs.upload("a/input"), blobs.upload("b/input")
    begun.write(b"half")
    done.write(b"whole")
    done.commit()

    for upload in (begun, done):
        upload.abort()
        upload.abort()

    for key in ("a/input", "b/input"):
        with pytest.raises(BlobNotFound):
            _read(blobs, key)
    assert blobs.idle_jobs(-10) == []


def test_a_blob_is_placed_as_a_file_and_a_file_taken_as_a_blob(blobs: Blobs, tmp_path: Path) -> None:
    _store(blobs, input_key("a"), b"weights")
    model, report = output_keys("a", 1)

    blobs.place(input_key("a"), tmp_path / "input")
    (tmp_path / "output").write_bytes(b"fused")
    blobs.take(tmp_path / "output", model)

    assert (tmp_path / "input").read_bytes() == b"weights"
    assert not (tmp_path / "output").exists()
    assert _read(blobs, model, 0, 5) == b"fused"
    with pytest.raises(BlobNotFound):
        _read(blobs, report)


def test_a_missing_blob_is_named_as_such(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound):
        blobs.place("a/input", tmp_path / "input")
    with pytest.raises(BlobNotFound):
        blobs.read("a/input", 0, 1)


def test_removing_a_job_removes_all_of_it_and_nothing_else(blobs: Blobs) -> None:
    keys = [input_key("a"), *output_keys("a", 1), *output_keys("a", 2)]
    for key in [*keys, input_key("ab")]:
        _store(blobs, key, b"x")

    blobs.delete_prefix(job_prefix("a"))
    blobs.delete_prefix(job_prefix("a"))

    for key in keys:
        with pytest.raises(BlobNotFound):
            _read(blobs, key, 0, 1)
    assert _read(blobs, input_key("ab"), 0, 1) == b"x"


def test_a_job_is_idle_when_none_of_its_blobs_was_written_to_lately(blobs: Blobs) -> None:
    _store(blobs, input_key("a"), b"x")
    _store(blobs, output_keys("a", 1)[0], b"x")

    assert blobs.idle_jobs(60) == []
    assert blobs.idle_jobs(-60) == ["a"]


def test_a_store_in_order_passes_its_check(blobs: Blobs) -> None:
    blobs.check()


def test_a_store_is_chosen_by_its_url(tmp_path: Path) -> None:
    assert isinstance(open_blobs((tmp_path / "with space").as_uri()), LocalBlobs)
    assert (tmp_path / "with space").is_dir()
    assert isinstance(open_blobs("memory:///"), RemoteBlobs)


def test_a_directory_that_can_not_be_made_is_told() -> None:
    with pytest.raises(CanNotStart, match="FUSEBOX_BLOB_URL names /proc/nowhere: No such file or directory"):
        open_blobs("file:///proc/nowhere")


def test_a_local_input_is_handed_over_without_a_copy(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    _store(blobs, input_key("a"), b"weights")

    blobs.place(input_key("a"), tmp_path / "input")

    assert os.path.samefile(tmp_path / "input", tmp_path / "blobs" / "a" / "input")


def test_a_key_never_leaves_the_directory_of_the_store(tmp_path: Path) -> None:
    for key in ("../outside", "a/../../outside", "/etc/passwd", ""):
        with pytest.raises(AssertionError):
            LocalBlobs(tmp_path / "blobs").upload(key)


def test_a_place_that_can_not_be_used_is_an_outage_without_its_path(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    (tmp_path / "blobs" / "a").touch()
    (tmp_path / "b").touch()

    for use in (lambda: blobs.upload("a/input"), lambda: blobs.take(tmp_path / "b", "a/model")):
        with pytest.raises(StorageUnavailable) as caught:
            use()
        assert str(tmp_path) not in str(caught.value)


def test_a_write_that_the_system_refuses_is_a_full_disk(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from app.errors import DiskFull
from app.storage import LocalBlobs
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
upload = LocalBlobs(Path({str(tmp_path)!r})).upload("a/input")
try:
    upload.write(bytes(2000))
except DiskFull as error:
    print(error.status)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True)

    assert ended.stdout == "507\n"
