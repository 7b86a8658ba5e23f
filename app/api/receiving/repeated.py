"""Requests that may be sent again without harm: Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

The job itself remembers the key, in the transaction that accepts it: a process that dies before leaves nothing behind,
and of two processes that receive the same request at the same time one makes the job and the other finds it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from app.api.refusals import IdempotencyKeyInUse, IdempotencyKeyInvalid

# A string as RFC 8941 has it, with parameters that mean nothing; or, as many send it, the bare characters.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?:;[\x20-\x7e]*)?')
_BARE: Final = re.compile(r"[!#-~]+")
_LONGEST: Final = 255


def read_key(lines: Sequence[str], owner: str | None) -> str | None:
    """What stands for the caller's key in the jobs table; None without one. Raises IdempotencyKeyInvalid."""
    if not lines:
        return None
    text = lines[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text if _BARE.fullmatch(text) else ""
    if len(lines) > 1 or not 1 <= len(key) <= _LONGEST:
        raise IdempotencyKeyInvalid(
            "Idempotency-Key is not one string of 1 to 255 printable ASCII characters.",
            remedy='Send a random one with each upload, and the same when it is sent again: Idempotency-Key: "UUID"',
        )
    return hashlib.sha256(json.dumps([owner, key]).encode()).hexdigest()


@dataclass(slots=True, eq=False)
class Ongoing:
    """Keys of requests that this process is receiving; used from the event loop alone."""

    _keys: set[str] = field(default_factory=set)

    @contextmanager
    def hold(self, key: str | None) -> Iterator[None]:
        """Raises IdempotencyKeyInUse."""
        if key is None:
            yield
            return
        if key in self._keys:
            raise IdempotencyKeyInUse(
                "A request with this Idempotency-Key is still being received.", remedy="Send it again in a while."
            )
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)
