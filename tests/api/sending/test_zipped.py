"""Archives are read by Python's own reader, and by Info-ZIP where it is installed."""

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.sending.zipped import Archive, Entry, archive_of

_MADE = datetime(2026, 11, 28, 13, 45, 58, tzinfo=UTC)


def _entry(name: str, content: bytes) -> Entry:
    def read(start: int, stop: int) -> Iterator[bytes]:
        assert 0 <= start < stop <= len(content)
        return iter((content[start : (start + stop) // 2], content[(start + stop) // 2 : stop]))

    return Entry(name, len(content), zlib.crc32(content), read)


def _bytes(archive: Archive, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(archive.read(start, archive.size if stop is None else stop))


_FILES = st.dictionaries(st.text("aä文 .-_'", min_size=1, max_size=9), st.binary(max_size=300), max_size=4)


@given(files=_FILES)
def test_every_archive_holds_its_files(files: dict[str, bytes]) -> None:
    archive = archive_of([_entry(name, content) for name, content in files.items()], _MADE)
    written = _bytes(archive)

    assert len(written) == archive.size
    with zipfile.ZipFile(io.BytesIO(written)) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == files
        assert all(one.date_time == (2026, 11, 28, 13, 45, 58) for one in found.infolist())


@given(files=_FILES, edges=st.tuples(st.integers(0, 2000), st.integers(0, 2000)))
def test_a_range_is_that_part_of_the_archive(files: dict[str, bytes], edges: tuple[int, int]) -> None:
    archive = archive_of([_entry(name, content) for name, content in files.items()], _MADE)
    start, stop = sorted(min(edge, archive.size) for edge in edges)

    assert _bytes(archive, start, stop) == _bytes(archive)[start:stop]


def test_the_same_files_make_the_same_archive() -> None:
    one, other = (_bytes(archive_of([_entry("a", b"x" * 9)], _MADE)) for _ in range(2))

    assert one == other


@pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP is not installed")
def test_info_zip_finds_nothing_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(_bytes(archive_of([_entry("größe.fused.pt", b"weights"), _entry("report.json", b"{}")], _MADE)))

    tested = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)

    assert (tested.returncode, tested.stderr) == (0, "")
    assert "No errors detected" in tested.stdout


class _Window(io.RawIOBase):
    """An archive as a file of which only those bytes exist that are read."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._at = archive, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._archive.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._archive.size if size < 0 else min(self._archive.size, self._at + size)
        found = _bytes(self._archive, self._at, stop)
        self._at += len(found)
        return found


@pytest.mark.parametrize("size", [(1 << 32) - 2, (1 << 32) - 1, 1 << 32, 5 << 30])
def test_a_file_beyond_four_gigabytes_is_a_zip64_entry(size: int) -> None:
    large = Entry("large.pt", size, 0, lambda start, stop: iter((bytes(stop - start),)))
    archive = archive_of([large, _entry("report.json", b"{}")], _MADE)

    with zipfile.ZipFile(_Window(archive)) as found:  # type: ignore[arg-type]
        assert [(one.filename, one.file_size) for one in found.infolist()] == [("large.pt", size), ("report.json", 2)]
        assert found.read("report.json") == b"{}"
        with found.open("large.pt") as first:
            assert first.read(1000) == bytes(1000)
