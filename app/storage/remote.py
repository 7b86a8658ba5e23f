"""Blobs in an object store (S3, GCS, Azure, memory) by obstore, and the choice of a store by URL."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import ObjectStore, from_url

from app.storage.blobs import BlobNotFound, Blobs
from app.storage.local import LocalBlobs

_PIECE = 1 << 20


def open_blobs(url: str) -> Blobs:
    """The store that a URL names: `file:///srv/blobs`, `s3://bucket/prefix`, `gs://`, `az://`, `memory:///`.

    Credentials and end points come from the usual variables of each cloud (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`...).
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBlobs(Path(unquote(parts.path)))
    return RemoteBlobs(from_url(url))


class RemoteBlobs:
    """Blobs as objects. The store itself makes a finished object durable and visible at once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def upload(self, key: str) -> "RemoteUpload":
        return RemoteUpload(self._store, key)

    def free_bytes(self) -> None:
        return None

    def place(self, key: str, path: Path) -> None:
        try:
            pieces = obstore.get(self._store, key).stream(min_chunk_size=_PIECE)
        except (NotFoundError, FileNotFoundError):
            raise BlobNotFound(key) from None
        with path.open("xb") as file:
            for piece in pieces:
                file.write(piece)

    def take(self, path: Path, key: str) -> None:
        obstore.put(self._store, key, path)
        path.unlink()

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        try:
            found = obstore.get(self._store, key, options={"range": (start, stop)} if stop > start else {})
        except (NotFoundError, FileNotFoundError):
            raise BlobNotFound(key) from None
        if stop <= start:
            return iter(())
        return (bytes(piece) for piece in found.stream(min_chunk_size=_PIECE))

    def delete_prefix(self, prefix: str) -> None:
        for page in obstore.list(self._store, prefix=prefix.rstrip("/")):
            keys = [entry["path"] for entry in page if entry["path"].startswith(prefix)]
            if keys:
                obstore.delete(self._store, keys)

    def idle_jobs(self, seconds: float) -> list[str]:
        newest: dict[str, datetime] = {}
        for page in obstore.list(self._store):
            for entry in page:
                owner = entry["path"].split("/", 1)[0]
                newest[owner] = max(entry["last_modified"], newest.get(owner, entry["last_modified"]))
        present = datetime.now(UTC)
        return [owner for owner, last in newest.items() if (present - last).total_seconds() > seconds]

    def check(self) -> None:
        obstore.list_with_delimiter(self._store, prefix="readiness")


class RemoteUpload:
    """An upload in parts; the object appears only when it is committed."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._writer = obstore.open_writer(store, key)
        self._committed = False

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def commit(self) -> None:
        self._writer.close()
        self._committed = True

    def abort(self) -> None:
        # Parts of an upload that was never completed are no object; buckets drop them by their lifecycle rule.
        if self._committed:
            self._committed = False
            obstore.delete(self._store, self._key)
