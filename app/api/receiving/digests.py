"""Content-Digest of an upload: what the caller says that the body hashes to, and whether it does (RFC 9530)."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from app.api.refusals import DigestInvalid, DigestMismatch, DigestUnsupported

_ALGORITHMS: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
# A dictionary of byte sequences (RFC 8941, 3.2 and 3.3.5); their parameters mean nothing here.
_KEY: Final = r"[a-z*][a-z0-9_.*-]*"
_MEMBER: Final = re.compile(rf"({_KEY})=:([A-Za-z0-9+/]*={{0,2}}):(?:; *{_KEY}(?:=[^\s;,]+)?)*")
_LONGEST: Final = 4096
_BATCH: Final = 1 << 20
_HOW: Final = "Write Content-Digest: sha-256=:BASE64:, of the body as it is sent; or leave it out."


@dataclass(slots=True)
class Digests:
    """The digests that a body must have. Feed it the body, then ask for the verdict."""

    expected: Mapping[str, bytes]
    _hashes: dict[str, "hashlib._Hash"] = field(init=False)

    def __post_init__(self) -> None:
        self._hashes = {name: _ALGORITHMS[name]() for name in self.expected}

    async def over(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The body as it comes, hashed on its way, not on the event loop."""
        batch = bytearray()
        async for piece in body:
            if self._hashes:
                batch += piece
                if len(batch) >= _BATCH:
                    await anyio.to_thread.run_sync(self._update, bytes(batch))
                    batch.clear()
            yield piece
        self._update(bytes(batch))

    def check(self) -> None:
        """Raises DigestMismatch; the body has come to its end."""
        for name, expected in self.expected.items():
            found = self._hashes[name].digest()
            if found != expected:
                raise DigestMismatch(
                    f"The body has the {name} {_shown(found)}, not {_shown(expected)}.",
                    remedy="Send it again: it changed on its way, or the digest is of something else. It is that of "
                    "the whole body, which for a form is more than the file.",
                    algorithm=name,
                )

    def _update(self, data: bytes) -> None:
        for digest in self._hashes.values():
            digest.update(data)


def read_digests(lines: Sequence[str]) -> Digests:
    """What Content-Digest headers say. Raises DigestInvalid, DigestUnsupported."""
    if not lines:
        return Digests({})
    given = _members(", ".join(lines))
    known = {name: value for name, value in given.items() if name in _ALGORITHMS}
    if not known:
        raise DigestUnsupported(
            f"None of {', '.join(given)[:200]} is checked here.",
            remedy=f"Send one of {', '.join(_ALGORITHMS)}, or leave the header out.",
            allowed=list(_ALGORITHMS),
        )
    for name, value in known.items():
        if len(value) != _ALGORITHMS[name]().digest_size:
            raise DigestInvalid(f"A digest of {len(value)} bytes is no {name}.", remedy=_HOW)
    return Digests(known)


def _members(text: str) -> dict[str, bytes]:
    """The last of those with the same name counts, as in every such dictionary."""
    found = {}
    for part in text[: _LONGEST + 1].split(","):
        matched = _MEMBER.fullmatch(part.strip(" \t"))
        if matched is None or len(text) > _LONGEST:
            raise DigestInvalid(f"{part.strip()[:100]!r} is no digest.", remedy=_HOW)
        found[matched[1]] = _decoded(matched[2])
    return found


def _decoded(text: str) -> bytes:
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise DigestInvalid(f"{text[:100]!r} is no base64.", remedy=_HOW) from None


def _shown(digest: bytes) -> str:
    return f":{base64.b64encode(digest).decode()}:"
