"""The port to blob storage, and the names of blobs. Every blob belongs to a job and lies under its id."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class BlobNotFound(Exception):
    """There is no such blob, or no longer."""


class Upload(Protocol):
    """A blob in the making; it counts only after `commit`."""

    def write(self, data: bytes) -> None:
        """Add bytes. Raises DiskFull."""

    def commit(self) -> None:
        """Make it durable: after this a power cut does not lose it. Raises DiskFull."""

    def abort(self) -> None:
        """Leave nothing behind. May be called at any time, also twice, also after `commit`."""


class Blobs(Protocol):
    """What the service asks of a store. All calls block."""

    def upload(self, key: str) -> Upload: ...

    def free_bytes(self) -> int | None:
        """Room left, where the store has an end."""

    def place(self, key: str, path: Path) -> None:
        """Make the blob readable as the file `path`, which must not exist. Raises BlobNotFound."""

    def take(self, path: Path, key: str) -> None:
        """Store the file `path` under `key`, durably; the file is gone afterwards. Raises DiskFull."""

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) in pieces; opened before this returns. Raises BlobNotFound."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every blob whose key starts with `prefix`; none at all is fine."""

    def idle_jobs(self, seconds: float) -> list[str]:
        """Ids of jobs none of whose blobs was written to for so long."""

    def check(self) -> None:
        """Raise if the store can't be used now."""


def job_prefix(job_id: str) -> str:
    return f"{job_id}/"


def input_key(job_id: str) -> str:
    return f"{job_prefix(job_id)}input"


def probe_key(job_id: str) -> str:
    """The caller's own inputs for the comparison."""
    return f"{job_prefix(job_id)}probe"


def output_keys(job_id: str, attempt: int) -> tuple[str, str]:
    """Keys of model and report: one pair an attempt, so that a late one never overwrites what was published."""
    return f"{job_prefix(job_id)}{attempt}/model", f"{job_prefix(job_id)}{attempt}/report.json"
