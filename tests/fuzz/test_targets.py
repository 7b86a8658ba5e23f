"""A short run of what `make fuzz` runs at length: mutated seeds end in a value or in a typed error."""

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, guarded

_CORPUS = Path(__file__).parent / "corpus"
_RUNS = 1500
_TOKENS = (b"\xff" * 4, b"\x00" * 8, b"\x80\x04", b"R", b"b", b"\x93", b"Q", b"9" * 30, b'"', b"{", b"[", b"(", b"-1")


def mutants(seeds: list[bytes], count: int) -> list[bytes]:
    """Some bytes changed, cut, doubled, moved, or taken from another seed."""
    draw = random.Random(5)
    return [_mutated(draw, bytearray(draw.choice(seeds)), draw.choice(seeds)) for _ in range(count)]


def _mutated(draw: random.Random, content: bytearray, other: bytes) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        match draw.randrange(6):
            case 0:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del content[at : min(end, at + draw.choice((1, 4, 64)))]
            case 2:
                content[at:at] = content[at : min(end, at + 64)]
            case 3:
                content[at : at + draw.randrange(3)] = draw.choice(_TOKENS)
            case 4:
                start = draw.randrange(len(other) + 1)
                content[at:at] = other[start : start + draw.choice((1, 16, 256))]
            case 5 if draw.random() < 0.1:
                del content[max(at, 1) :]
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds_end_in_a_value_or_a_typed_error(name: str) -> None:
    run = guarded(name)
    seeds = [path.read_bytes() for path in sorted((_CORPUS / name).iterdir())]

    for content in (*seeds, *mutants(seeds, _RUNS)):
        run(content)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"pt2"}))  # whose weights are not there
def test_the_seeds_are_read(name: str) -> None:
    read = 0
    for path in (_CORPUS / name).iterdir():
        try:
            TARGETS[name](path.read_bytes())
        except Exception:
            continue
        read += 1
    assert read > 0
