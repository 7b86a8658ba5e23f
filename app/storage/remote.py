"""Blobs in an object store (S3, GCS, Azure, memory) by obstore, and the choice of a store by URL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from app.errors import CanNotStart, StorageUnavailable
from app.storage.blobs import BlobNotFound, Blobs
from app.storage.local import LocalBlobs

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

_PIECE = 1 << 20
# A caller waits for the answer: the library's own three minutes of retrying are too long for that.
_RETRY = timedelta(seconds=10)


def open_blobs(url: str) -> Blobs:
    """The store that a URL names: `file:///srv/blobs`, `s3://bucket/prefix`, `gs://`, `az://`, `memory:///`.

    Credentials and end points come from the usual variables of each cloud (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`...).
    Raises CanNotStart where a directory can't be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        try:
            return LocalBlobs(Path(unquote(parts.path)))
        except OSError as error:
            raise CanNotStart(f"FUSEBOX_BLOB_URL names {error.filename}: {error.strerror}") from None
    if parts.scheme == "memory":
        return RemoteBlobs(from_url(url))
    # No client options: any at all would make the library forget those of the environment (AWS_ALLOW_HTTP).
    return RemoteBlobs(from_url(url, retry_config={"max_retries": 3, "retry_timeout": _RETRY}))


@contextmanager
def _reached() -> Iterator[None]:
    """Anything that the store's client can't do is an outage for the caller; its text names hosts and buckets."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise StorageUnavailable(
            f"The object store could not be used ({type(error).__name__}).",
            remedy="Try again in a minute; if it goes on, the operator finds more at /readyz and in the log.",
        ) from error


class RemoteBlobs:
    """Blobs as objects. The store itself makes a finished object durable and visible at once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def upload(self, key: str) -> "RemoteUpload":
        return RemoteUpload(self._store, key)

    def free_bytes(self) -> None:
        return None

    def place(self, key: str, path: Path) -> None:
        with _reached():
            found = self._get(key)
        with path.open("xb") as file:
            for piece in _pieces(found):
                file.write(piece)

    def take(self, path: Path, key: str) -> None:
        with _reached():
            obstore.put(self._store, key, path)
        path.unlink()

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        with _reached():
            found = self._get(key, {"range": (start, stop)} if stop > start else {})
        if stop <= start:
            return iter(())
        return _pieces(found)

    def delete_prefix(self, prefix: str) -> None:
        with _reached():
            for page in obstore.list(self._store, prefix=prefix.rstrip("/")):
                keys = [entry["path"] for entry in page if entry["path"].startswith(prefix)]
                if keys:
                    with suppress(NotFoundError, FileNotFoundError):  # Somebody else removes them, too.
                        obstore.delete(self._store, keys)

    def idle_jobs(self, seconds: float) -> list[str]:
        newest: dict[str, datetime] = {}
        with _reached():
            for page in obstore.list(self._store):
                for entry in page:
                    owner = entry["path"].split("/", 1)[0]
                    newest[owner] = max(entry["last_modified"], newest.get(owner, entry["last_modified"]))
        present = datetime.now(UTC)
        return [owner for owner, last in newest.items() if (present - last).total_seconds() > seconds]

    def check(self) -> None:
        with _reached():
            obstore.list_with_delimiter(self._store, prefix="readiness")

    def _get(self, key: str, options: "GetOptions | None" = None) -> "GetResult":
        try:
            return obstore.get(self._store, key, options=options)
        except (NotFoundError, FileNotFoundError):
            raise BlobNotFound(key) from None


def _pieces(found: "GetResult") -> Iterator[bytes]:
    with _reached():
        for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)


class RemoteUpload:
    """An upload in parts; the object appears only when it is committed."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        with _reached():
            self._writer = obstore.open_writer(store, key)
        self._committed = False

    def write(self, data: bytes) -> None:
        with _reached():
            self._writer.write(data)

    def commit(self) -> None:
        with _reached():
            self._writer.close()
        self._committed = True

    def abort(self) -> None:
        # Parts of an upload that was never completed are no object; buckets drop them by their lifecycle rule.
        if self._committed:
            self._committed = False
            with _reached():
                obstore.delete(self._store, self._key)
