"""Blobs on local disk.

Plain files rather than obstore's local store: an upload must be written once, at its final place, with fsync of file
and directory before the job is accepted, and a full disk must be told from a broken one. A job's input is handed to
its child as a hard link, and its output is taken over by renaming.
"""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from app.errors import DiskFull, StorageUnavailable
from app.storage.blobs import BlobNotFound

_PIECE = 1 << 20


class LocalBlobs:
    """Blobs as files below a directory, which is created."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def upload(self, key: str) -> "LocalUpload":
        return LocalUpload(self._path(key))

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._root).free

    def place(self, key: str, path: Path) -> None:
        try:
            os.link(self._path(key), path)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except OSError as error:
            # Another file system, or one without hard links.
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise _named(error) from error
            shutil.copyfile(self._path(key), path)

    def take(self, path: Path, key: str) -> None:
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            try:
                path.rename(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(path, target)
                with target.open("rb") as file:
                    os.fsync(file.fileno())
                path.unlink()
            _sync_directories(target)
        except OSError as error:
            raise _named(error) from error

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except OSError as error:
            raise _named(error) from error
        return _pieces(file, start, stop)

    def delete_prefix(self, prefix: str) -> None:
        shutil.rmtree(self._path(prefix.rstrip("/")), ignore_errors=True)

    def idle_jobs(self, seconds: float) -> list[str]:
        before = time.time() - seconds
        return [entry.name for entry in os.scandir(self._root) if entry.is_dir() and _newest(Path(entry)) < before]

    def check(self) -> None:
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise OSError(f"{self._root} can't be read and written")

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        assert all(part and part not in (".", "..") for part in parts), key
        return self._root.joinpath(*parts)


class LocalUpload:
    """An upload written straight to its place; nobody looks there before the job row names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _named(error) from error

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise _named(error) from error

    def commit(self) -> None:
        try:
            os.fsync(self._fd)
            _sync_directories(self._path)
        except OSError as error:
            raise _named(error) from error
        self._close()

    def abort(self) -> None:
        self._close()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Not empty, or gone already.
            self._path.parent.rmdir()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _pieces(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (piece := file.read(min(_PIECE, stop - start))):
            start += len(piece)
            yield piece


def _sync_directories(path: Path) -> None:
    """fsync the two directories above: the nearer holds the name, the farther may hold the nearer as a new one."""
    for directory in (path.parent, path.parent.parent):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _newest(directory: Path) -> float:
    times = [directory.stat().st_mtime] if directory.exists() else []
    for path in directory.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=time.time())


def _named(error: OSError) -> DiskFull | StorageUnavailable:
    """What the caller is told. The system's text names no path, the error itself does and goes to the log."""
    return DiskFull.of(error) or StorageUnavailable(
        f"The disk for uploads and results could not be used ({os.strerror(error.errno or 0)}).",
        remedy="Try again in a minute; if it goes on, the operator finds more at /readyz and in the log.",
    )
