"""Small files that ask for much: memory, time, depth."""

import struct
from collections.abc import Callable, Iterator

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import name, plain, text
from tests.hostile.corpus.case import Recipe

_HUGE = struct.pack("<Q", 1 << 40)


def _laughs(step: bytes, times: int = 60) -> bytes:
    """Each holds the one before it several times."""
    return text("ha") + b"".join(
        b"r" + struct.pack("<I", n) + step.replace(b"?", struct.pack("<I", n)) for n in range(times)
    )


PICKLES: dict[str, Callable[[], bytes]] = {
    "laughing tuples": lambda: _laughs(b"j?\x86"),
    "laughing triples": lambda: _laughs(b"j?j?\x87"),
    "laughing lists": lambda: _laughs(b"0](j?j?j?e"),
    "laughing dictionaries": lambda: _laughs(b"0}(K\x00j?K\x01j?u"),
    "laughing keys": lambda: b"}" + _laughs(b"j?\x86") + b"Ns",
    "laughing frozensets": lambda: b"}" + _laughs(b"0(j?j?\x91") + b"Ns",
    "laughing members": lambda: b"\x8f(" + _laughs(b"j?\x86") + b"\x90",
    "deep tuples": lambda: b"N" + b"\x85" * 2_000_000,
    "deep lists": lambda: b"]" * 100_000 + b"a" * 99_999,
    "deep dictionaries": lambda: b"}" + b"N}" * 50_000 + b"s" * 50_000,
    "deep marks": lambda: b"(" * 1_000_000,
    "deep states": lambda: (name("m", "C") + b")\x81") * 20_000 + b"b" * 19_999,
    "deep calls": lambda: name("m", "f") + b")R" * 500_000,
    "deep calls of calls": lambda: name("m", "f") + b")R" * 500_000 + b")R",
    "a memo without end": lambda: b"N" + b"\x94" * 3_000_000,
    "a memo of wide indices": lambda: b"N" + b"".join(b"r" + struct.pack("<I", n * 2039) for n in range(600_000)),
    "objects without end": lambda: b"]0" * 2_100_000 + b"N",
    "nodes without end": lambda: name("m", "C") + b"q\x00" + b"h\x00)\x810" * 1_000_000,
    "operations without end": lambda: b"N0" * 3_000_000 + b"N",
    "names without end": lambda: b"".join(name("m", f"C{n}") + b"0" for n in range(60_000)) + b"N",
    "a long name": lambda: text("a" * 2_000_000) + text("b") + b"\x93",
    "a long line": lambda: b"V" + b"a" * 2_000_000 + b"\n",
    "long digits": lambda: b"I" + b"9" * 60_000 + b"\n",
    "longer digits": lambda: b"L" + b"9" * 2_000_000 + b"L\n",
    "a wide integer": lambda: b"\x8b" + struct.pack("<i", 4_000_000) + b"\x7f" * 4_000_000,
    "an integer of negative length": lambda: b"\x8b" + struct.pack("<i", -5),
    "an integer of any length": lambda: b"\x8b\xff\xff\xff\x7f",
    "a bytearray of any length": lambda: b"\x96" + _HUGE,
    "bytes of any length": lambda: b"\x8e" + _HUGE,
    "a string of any length": lambda: b"\x8d" + _HUGE,
    "a string of four gigabytes": lambda: b"X\xff\xff\xff\xff",
    "a string of negative length": lambda: b"T\xff\xff\xff\xff",
    "a frame of any length": lambda: b"\x95" + _HUGE,
    "an index of any size": lambda: b"Nr\xff\xff\xff\xff",
    "an index of many digits": lambda: b"Np" + b"9" * 5000 + b"\n",
    "equal hashes": lambda: b"}(" + b"".join(plain((2**61 - 1) * n) + b"N" for n in range(2, 60_000)) + b"u",
    "equal hashes of floats": lambda: (
        b"}(" + b"".join(plain(float(2 ** (n % 60)) + n * 2.0**-40) + b"N" for n in range(60_000)) + b"u"
    ),
    "tuples as keys": lambda: b"}(" + b"".join(plain((n,)) + b"N" for n in range(60_000)) + b"u",
    "near hashes": lambda: b"}(" + b"".join(plain(n << 40) + b"N" for n in range(1 << 18)) + b"u",
    "pairs given many times": lambda: (
        b"]q\x00(" + b"]K\x01aNa" * 5000 + b"e0" + (name("collections", "OrderedDict") + b"h\x00\x85R0") * 2000 + b"N"
    ),
    "a list in itself": lambda: b"]q\x00h\x00a",
    "a dictionary in itself": lambda: b"}q\x00K\x00h\x00s",
    "an object in itself": lambda: name("m", "C") + b")\x81q\x00h\x00b",
    "a set in itself": lambda: b"\x8fq\x00(h\x00\x90",
    "an escape without end": lambda: b"S'" + b"\\x61" * 16_000 + b"'\n",
    "unicode escapes": lambda: b"V" + b"\\U0010ffff" * 6_000 + b"\n",
    "an escape of no character": lambda: b"V\\U7fffffff\n",
}


def _chain(depth: int) -> bytes:
    """Modules within modules."""
    return b"".join(_open("torch.nn.modules.container", "Sequential") for _ in range(depth)) + b"N" + b"sub" * depth


def _open(module: str, inner: str) -> bytes:
    tables = b"".join(text(key) + name("collections", "OrderedDict") + b")R" for key in ("_parameters", "_buffers"))
    start = text("training") + b"\x89" + tables + text("_modules") + name("collections", "OrderedDict") + b")R"
    return name(module, inner) + b")\x81}(" + start + text("0")


def _shared(levels: int) -> bytes:
    """Each module holds the one below twice."""
    built = _open("torch.nn.modules.container", "Sequential") + b"Nsub"
    for _ in range(levels):
        at = struct.pack("<I", levels + _)
        built += (
            b"r"
            + at
            + b"0"
            + _open("torch.nn.modules.container", "Sequential")
            + b"j"
            + at
            + b"s"
            + text("1")
            + b"j"
            + at
            + b"sub"
        )
    return built


TREES: dict[str, Callable[[], bytes]] = {
    "modules within modules": lambda: _chain(150),
    "modules far within modules": lambda: _chain(5000),
    "modules twice within modules": lambda: _shared(40),
    "modules twice within modules, often": lambda: _shared(120),
}


# Above a limit only after some million operations.
_HEAVY = {
    *("deep tuples", "deep calls", "deep calls of calls", "a memo without end", "objects without end"),
    *("nodes without end", "operations without end", "pairs given many times", "near hashes", "deep marks"),
    *("equal hashes", "equal hashes of floats", "a memo of wide indices", "names without end"),
}


def recipes() -> Iterator[Recipe]:
    for what, operations in PICKLES.items():
        yield Recipe(
            f"bomb {what}", lambda c, operations=operations: a.alone(a.whole(operations(), 4)), heavy=what in _HEAVY
        )
    for what in ("laughing tuples", "deep tuples", "objects without end", "equal hashes", "a memo without end"):
        yield Recipe(f"bomb {what}, legacy", lambda c, what=what: a.legacy(PICKLES[what](), 4), heavy=what in _HEAVY)
    for what, operations in TREES.items():
        yield Recipe(f"bomb {what}", lambda c, operations=operations: a.alone(a.whole(operations())))
