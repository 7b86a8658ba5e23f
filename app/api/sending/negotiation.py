"""Which of several kinds of an answer a caller would rather have (RFC 9110, 12.5.1), and whether packed (12.5.3)."""

import re
from collections.abc import Sequence
from typing import Final

_RANGE: Final = re.compile(r"([^\s/;,]+)/([^\s/;,]+)")
_CODING: Final = re.compile(r"[^\s;,]+")
_WEIGHT: Final = re.compile(r"q=([01](?:\.\d{0,3})?)", re.IGNORECASE)


def preferred(accept: Sequence[str], offers: Sequence[str]) -> str:
    """The offer that is liked best, the first of those liked as much; the first of all where none is wanted.

    An answer of another kind than was asked for is more use than a refusal.
    """
    ranges = [one for line in accept for part in line.split(",") if (one := _range(part)) is not None]
    best = max(offers, key=lambda offer: (_quality(offer, ranges), -offers.index(offer)))
    return best if _quality(best, ranges) > 0 else offers[0]


def takes_gzip(accept_encoding: Sequence[str]) -> bool:
    """Whether the caller says that it can unpack gzip; one that says nothing may not be able to."""
    weights: dict[str, float] = {}
    for part in (part for line in accept_encoding for part in line.split(",")):
        coding, *parameters = part.split(";")
        if _CODING.fullmatch(coding.strip()):
            weights[coding.strip().lower()] = _weight(parameters)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _range(part: str) -> tuple[str, str, float] | None:
    kind, *parameters = part.split(";")
    matched = _RANGE.fullmatch(kind.strip().lower())
    if matched is None:
        return None
    return matched[1], matched[2], _weight(parameters)


def _weight(parameters: Sequence[str]) -> float:
    weights = [float(found[1]) for one in parameters if (found := _WEIGHT.fullmatch(one.strip())) is not None]
    return min(weights[0], 1.0) if weights else 1.0


def _quality(offer: str, ranges: Sequence[tuple[str, str, float]]) -> float:
    """That of the most specific range that the offer lies in."""
    kind, _, name = offer.partition("/")
    fitting = [
        (main != "*", sub != "*", weight) for main, sub, weight in ranges if main in ("*", kind) and sub in ("*", name)
    ]
    return max(fitting)[2] if fitting else 0.0
