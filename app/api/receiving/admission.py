"""Uploads in progress in this process: how many there are, for whom, and what room they still need."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.api.refusals import ServiceBusy, TooManyUploads
from app.errors import DiskFull


@dataclass(slots=True, eq=False)
class Incoming:
    """One upload on its way. What it declares is kept free for it; without a length nothing is."""

    declared: int
    min_free_bytes: int
    received: int = 0

    @property
    def to_come(self) -> int:
        return max(0, self.declared - self.received)

    def check_disk(self, free: int | None, needed: int) -> None:
        """Raises DiskFull where less than the head-room would be left; `free` is None where the store has no end."""
        if free is not None and free - needed < self.min_free_bytes:
            raise DiskFull(
                f"The upload would leave less than {self.min_free_bytes:,} bytes free.",
                remedy="Try again later, or ask the operator of this service for more room.",
            )


@dataclass(slots=True)
class Admission:
    """Counts uploads; used from the event loop alone."""

    max_uploads: int
    max_uploads_per_client: int
    min_free_bytes: int
    _clients: Counter[str] = field(default_factory=Counter)
    _incoming: set[Incoming] = field(default_factory=set)

    @contextmanager
    def upload(self, client: str, declared: int | None) -> Iterator[Incoming]:
        """A place for one upload while it lasts. Raises ServiceBusy, TooManyUploads."""
        if len(self._incoming) >= self.max_uploads:
            raise ServiceBusy(
                f"{len(self._incoming)} uploads are in progress, which is the limit.", remedy="Try again in a while."
            )
        if self._clients[client] >= self.max_uploads_per_client:
            raise TooManyUploads(
                f"You have {self._clients[client]} uploads in progress, which is the limit.",
                remedy="Send the next when one of them is done.",
                limit=self.max_uploads_per_client,
            )
        incoming = Incoming(declared or 0, self.min_free_bytes)
        self._clients[client] += 1
        self._incoming.add(incoming)
        try:
            yield incoming
        finally:
            self._incoming.discard(incoming)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    @property
    def to_come(self) -> int:
        """Bytes that the uploads in progress have announced and not yet sent."""
        return sum(one.to_come for one in self._incoming)
