"""Conditions and ranges of requests (RFC 9110, 13 and 14)."""

import hashlib
import re
from collections.abc import Iterable

from app.api.refusals import PreconditionFailed


def etag_of(representation: bytes) -> str:
    """A strong validator: other bytes have another."""
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'


def names(if_none_match: Iterable[str], etag: str) -> bool:
    """Whether the caller has this version; compared weakly, as If-None-Match is."""
    listed = [one.strip().removeprefix("W/") for line in if_none_match for one in line.split(",")]
    return "*" in listed or etag in listed


def check_match(if_match: Iterable[str], etag: str) -> None:
    """Raises PreconditionFailed where the caller wants only other versions than this; a weak tag names none."""
    listed = [one.strip() for line in if_match for one in line.split(",")]
    if listed and "*" not in listed and etag not in listed:
        raise PreconditionFailed(
            f"If-Match names {', '.join(listed)[:200]}, and this is {etag}.",
            remedy="Ask again without If-Match, or with the ETag of now; of a download begin anew.",
        )


def byte_range(asked: str, size: int) -> tuple[int, int] | None:
    """[start, stop) of a single range, empty if it lies outside; None for what may be ignored (several, nonsense)."""
    matched = re.fullmatch(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", asked.strip())
    if matched is None or not (matched[1] or matched[2]):
        return None
    if not matched[1]:
        return max(0, size - int(matched[2])), size
    start = int(matched[1])
    if matched[2] and int(matched[2]) < start:
        return None
    return start, min(size, int(matched[2]) + 1) if matched[2] else size
