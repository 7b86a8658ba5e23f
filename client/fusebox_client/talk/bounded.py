"""Answers that are held whole, up to a length: whoever answers may be any server, and may never end."""

import zlib
from dataclasses import dataclass, field

import httpx

from fusebox_client.problems import AnswerTooLarge, UnexpectedAnswer

LONGEST_ANSWER = 64 << 20  # bytes, unpacked: a report of some hundred thousand layers
LONGEST_EVENT = 8 << 20
LONGEST_PROBLEM = 1 << 20  # what is said in the place of a file or of events
CODINGS = "gzip"  # what is asked for: nothing that can't be unpacked piece by piece to a length

_EITHER_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's


@dataclass(slots=True)
class Collected:
    """An answer's body, piece by piece as it comes over the wire. Raises AnswerTooLarge, UnexpectedAnswer."""

    head: httpx.Response
    longest: int = LONGEST_ANSWER
    _body: bytearray = field(default_factory=bytearray)
    _unpacking: "zlib._Decompress | None" = None

    def __post_init__(self) -> None:
        coding = self.head.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._unpacking = zlib.decompressobj(_EITHER_HEADER)
        elif coding not in ("", "identity"):
            raise UnexpectedAnswer(f"{self.head.url} answers in {coding[:100]}, which was not asked for.")

    def take(self, piece: bytes) -> None:
        self._body += self._unpacked(piece)
        if len(self._body) > self.longest:
            raise too_large(self.head, self.longest)

    def whole(self) -> httpx.Response:
        """The answer, once its end was reached."""
        if self._unpacking is not None and self._body and not self._unpacking.eof:
            raise UnexpectedAnswer(f"{self.head.url} packs an answer that ends too early.")
        headers = [(name, value) for name, value in self.head.headers.multi_items() if name != "content-encoding"]
        return httpx.Response(
            self.head.status_code, headers=headers, content=bytes(self._body), request=self.head.request
        )

    def _unpacked(self, piece: bytes) -> bytes:
        if self._unpacking is None:
            return piece
        try:
            return self._unpacking.decompress(piece, self.longest + 1 - len(self._body))
        except zlib.error:
            raise UnexpectedAnswer(f"{self.head.url} packs an answer in a way that can't be unpacked.") from None


def too_large(head: httpx.Response, longest: int) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"{head.request.method} {head.url} is answered with more than {longest:,} bytes, which is the limit of this "
        "client: is that a Fusebox service?"
    )
