"""Archives that two readers read differently, or that are larger within than without; and other containers."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import calls
from tests.hostile.corpus.case import Recipe

Content = dict[str, bytes]
_CENTRAL, _LOCAL, _END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def _payload(canary: Path) -> bytes:
    return a.whole(calls("os.system", f"touch {canary}"))


def sound() -> bytes:
    return a.archive(dict(a.records()))


def _root() -> str:
    return next(iter(a.records())).partition("/")[0]


def _more(extra: Content) -> bytes:
    return a.archive({**a.records(), **extra})


def _twice(canary: Path, first: bool) -> bytes:
    pickled = f"{_root()}/data.pkl"
    others = [(key, value) for key, value in a.records().items() if key != pickled]
    pair = [(pickled, _payload(canary)), (pickled, a.records()[pickled])]
    return a.archive([*(pair if first else reversed(pair)), *others])


def _patched(what: bytes, offset: int, new: bytes, nth: int = 0, content: bytes | None = None) -> bytes:
    """The sound archive with some bytes of its nth record of that signature replaced."""
    found = bytearray(content or sound())
    at = -1
    for _ in range(nth + 1):
        at = found.index(what, at + 1)
    found[at + offset : at + offset + len(new)] = new
    return bytes(found)


_WORD, _LONG = struct.Struct("<H").pack, struct.Struct("<I").pack

PATCHES: dict[str, Callable[[], bytes]] = {
    "flag of encryption, central": lambda: _patched(_CENTRAL, 8, _WORD(1)),
    "flag of encryption, both": lambda: _patched(_LOCAL, 6, _WORD(1), content=_patched(_CENTRAL, 8, _WORD(1))),
    "flag of strong encryption": lambda: _patched(_CENTRAL, 8, _WORD(0x41)),
    "flag of masked headers": lambda: _patched(_CENTRAL, 8, _WORD(0x2000)),
    "flag of patches": lambda: _patched(_CENTRAL, 8, _WORD(0x20)),
    "flag of a descriptor that is not there": lambda: _patched(
        _LOCAL, 6, _WORD(8), content=_patched(_CENTRAL, 8, _WORD(8))
    ),
    "method deflated, central": lambda: _patched(_CENTRAL, 10, _WORD(8)),
    "method deflated, local": lambda: _patched(_LOCAL, 8, _WORD(8)),
    "method unknown": lambda: _patched(_LOCAL, 8, _WORD(99), content=_patched(_CENTRAL, 10, _WORD(99))),
    "CRC, central": lambda: _patched(_CENTRAL, 16, _LONG(1)),
    "CRC, local": lambda: _patched(_LOCAL, 14, _LONG(1)),
    "CRC, both": lambda: _patched(_LOCAL, 14, _LONG(1), content=_patched(_CENTRAL, 16, _LONG(1))),
    "size compressed": lambda: _patched(_CENTRAL, 20, _LONG(1)),
    "size plain": lambda: _patched(_CENTRAL, 24, _LONG(0x7FFFFFFF)),
    "size beyond the file": lambda: _patched(_CENTRAL, 20, _LONG(0x7FFFFFFF) * 2),
    "size, local": lambda: _patched(_LOCAL, 18, _LONG(1) * 2),
    "size of zip64 that is not there": lambda: _patched(_CENTRAL, 24, _LONG(0xFFFFFFFF)),
    "sizes of zip64 that are not there": lambda: _patched(_CENTRAL, 20, _LONG(0xFFFFFFFF) * 2),
    "offset of zip64 that is not there": lambda: _patched(_CENTRAL, 42, _LONG(0xFFFFFFFF)),
    "length of a name": lambda: _patched(_CENTRAL, 28, _WORD(0xFFFF)),
    "length of a name, local": lambda: _patched(_LOCAL, 26, _WORD(2)),
    "length of an extra field": lambda: _patched(_CENTRAL, 30, _WORD(0xFFFF)),
    "length of an extra field, local": lambda: _patched(_LOCAL, 28, _WORD(0xFFFF)),
    "length of a comment": lambda: _patched(_CENTRAL, 32, _WORD(4)),
    "disk of a record": lambda: _patched(_CENTRAL, 34, _WORD(3)),
    "offset of a record": lambda: _patched(_CENTRAL, 42, _LONG(7), 1),
    "offset beyond the file": lambda: _patched(_CENTRAL, 42, _LONG(0x7FFFFFFF)),
    "offset of another record": lambda: _patched(_CENTRAL, 42, _LONG(0), 1),
    "name, local": lambda: _patched(_LOCAL, 30, b"X"),
    "name, central": lambda: _patched(_CENTRAL, 46, b"X"),
    "name with a zero": lambda: _patched(_LOCAL, 31, b"\0", content=_patched(_CENTRAL, 47, b"\0")),
    "name that is not UTF-8": lambda: _patched(_LOCAL, 31, b"\xff", content=_patched(_CENTRAL, 47, b"\xff")),
    "signature, central": lambda: _patched(_CENTRAL, 0, b"PK\x09\x09"),
    "signature, local": lambda: _patched(_LOCAL, 0, b"PK\x09\x09", 1),
    "count of records": lambda: _patched(_END, 8, _WORD(3) * 2),
    "count of records without end": lambda: _patched(_END, 8, _WORD(0xFFFF) * 2),
    "count on this disk": lambda: _patched(_END, 8, _WORD(1)),
    "number of the disk": lambda: _patched(_END, 4, _WORD(1)),
    "size of the directory": lambda: _patched(_END, 12, _LONG(0)),
    "offset of the directory": lambda: _patched(_END, 16, _LONG(0)),
    "offset of the directory beyond the file": lambda: _patched(_END, 16, _LONG(0xFFFFFFF0)),
    "length of the comment": lambda: _patched(_END, 20, _WORD(9)),
}


def _zip64(**lies: int) -> bytes:
    """The sound archive with a zip64 end record, which may lie."""
    content = sound()
    at = content.rindex(_END)
    count, size, offset = struct.unpack_from("<HII", content, at + 10)
    said = {"length": 44, "count": count, "size": size, "offset": offset, "end64": at, "disks": 1} | lies
    wide = struct.pack(
        "<IQHHIIQQQQ",
        0x06064B50,
        said["length"],
        45,
        45,
        0,
        0,
        said["count"],
        said["count"],
        said["size"],
        said["offset"],
    )
    locator = struct.pack("<IIQI", 0x07064B50, 0, said["end64"], said["disks"])
    return content[:at] + wide + locator + content[at:]


ZIP64: dict[str, Callable[[], bytes]] = {
    "another count": lambda: _zip64(count=3),
    "a count without end": lambda: _zip64(count=1 << 62),
    "a size without end": lambda: _zip64(size=1 << 62),
    "another offset": lambda: _zip64(offset=0),
    "an offset without end": lambda: _zip64(offset=(1 << 64) - 8),
    "an end elsewhere": lambda: _zip64(end64=0),
    "two disks": lambda: _zip64(disks=2),
    "another length": lambda: _zip64(length=1 << 40),
}


def _overlapping() -> bytes:
    """Many names for one range of bytes: small without, large within."""
    content = sound()
    at = content.rindex(_END)
    _, _, offset = struct.unpack_from("<HII", content, at + 10)
    record = content[offset : offset + 46 + struct.unpack_from("<H", content, offset + 28)[0]]
    directory = content[offset:at] + record * 200
    count = struct.unpack_from("<H", content, at + 10)[0] + 200
    return (
        content[:offset]
        + directory
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(directory), offset, 0)
    )


def _deflated_bomb() -> bytes:
    """256 MB of zeros in a quarter of one."""
    return a.archive({**a.records(), f"{_root()}/data/0": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)


def _descriptor(lie: bool) -> bytes:
    out = io.BytesIO()

    class Stream(io.RawIOBase):
        """Can't seek, so that sizes stand behind the content."""

        def writable(self) -> bool:
            return True

        def write(self, raw: bytes) -> int:  # type: ignore[override]
            return out.write(raw)

    with zipfile.ZipFile(Stream(), "w") as written:  # type: ignore[arg-type]
        for entry, content in a.records().items():
            written.writestr(entry, content)
    content = out.getvalue()
    at = content.index(b"PK\x07\x08")
    return content[: at + 4] + (b"\1\2\3\4" if lie else content[at + 4 : at + 8]) + content[at + 8 :]


def _tar(entries: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as written:  # type: ignore[call-overload]
        for entry, content in entries:
            entry.size = len(content)
            written.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def _tars(canary: Path) -> dict[str, bytes]:
    """As torch wrote before 0.2, with what tar can do."""
    inner = [(tarfile.TarInfo(name), a.whole(a.plain(1))) for name in ("sys_info", "storages", "tensors")]
    pickled = (tarfile.TarInfo("pickle"), _payload(canary))
    return {
        "of torch": _tar([*inner, pickled]),
        "with a path": _tar([(tarfile.TarInfo(f"../../../..{canary}"), b"x"), *inner, pickled]),
        "with an absolute path": _tar([(tarfile.TarInfo(str(canary)), b"x"), *inner, pickled]),
        "with a link": _tar([_link("storages", "/etc/passwd", tarfile.SYMTYPE), *inner, pickled]),
        "with a hard link": _tar([_link("storages", "/etc/passwd", tarfile.LNKTYPE), *inner, pickled]),
        "with a device": _tar([_link("storages", "", tarfile.CHRTYPE), *inner, pickled]),
        "packed": _tar([*inner, pickled], "w:gz"),
        "of old headers": _tar([*inner, pickled]).replace(b"ustar", b"\0\0\0\0\0"),
    }


def _names() -> dict[str, str]:
    return {
        "up": "../evil.py",
        "up within": f"{_root()}/../../evil.py",
        "absolute": "/etc/cron.d/evil",
        "of Windows": "C:\\evil.py",
        "with a backslash": f"{_root()}\\data.pkl",
        "with a dot": f"{_root()}/./data.pkl",
        "with two slashes": f"{_root()}//data.pkl",
        "a folder": f"{_root()}/data/",
        "in another folder": "other/data.pkl",
        "in no folder": "data.pkl",
        "in other letters": f"{_root()}/DATA.PKL",
        "turned around": f"{_root()}/\u202edata.pkl",
        "with a line break": f"{_root()}/a\nb",
        "without end": f"{_root()}/" + "a" * 60_000,
        "empty": "",
    }


def _planted(canary: Path) -> dict[str, Content]:
    code = f"open({str(canary)!r}, 'w')".encode()
    root = _root()
    return {
        "a module": {f"{root}/torch.py": code},
        "a main module": {"__main__.py": code},
        "a main module in the folder": {f"{root}/__main__.py": code},
        "a module beside it": {"sitecustomize.py": code},
        "a library": {f"{root}/libevil.so": b"\x7fELF"},
        "a second pickle": {f"{root}/model.pkl": _payload(canary)},
        "constants of TorchScript": {f"{root}/constants.pkl": _payload(canary)},
        "code of TorchScript": {f"{root}/code/__torch__.py": code},
        "the mark of a package": {f"{root}/.data/extern_modules": b"os"},
        "a record of no storage": {f"{root}/data/999": bytes(9)},
        "a strange version": {f"{root}/version": code},
        "a strange byte order": {f"{root}/byteorder": b"middle"},
        "a big byte order": {f"{root}/byteorder": b"big"},
        "a byte order without end": {f"{root}/byteorder": bytes(1 << 20)},
        "a strange id": {f"{root}/.data/serialization_id": code * 100},
        "a strange alignment": {f"{root}/.storage_alignment": code},
    }


def recipes() -> Iterator[Recipe]:
    for what, patch in {**PATCHES, **{f"zip64, {key}": value for key, value in ZIP64.items()}}.items():
        yield Recipe(f"zip {what}", lambda c, patch=patch: patch())
    yield Recipe("zip payload first of two", lambda c: _twice(c, True), True)
    yield Recipe("zip payload second of two", lambda c: _twice(c, False))
    for what in _names():
        yield Recipe(f"zip name {what}", lambda c, what=what: _more({_names()[what]: b"x"}))
    for what in _planted(Path("x")):
        yield Recipe(f"zip with {what}", lambda c, what=what: _more(_planted(c)[what]))
    yield from _around()
    for what in _tars(Path("x")):
        yield Recipe(f"tar {what}", lambda c, what=what: _tars(c)[what])


def _around() -> Iterator[Recipe]:
    yield Recipe("zip overlapping", lambda c: _overlapping())
    yield Recipe("zip deflated bomb", lambda c: _deflated_bomb())
    yield Recipe("zip descriptor that lies", lambda c: _descriptor(True))
    yield Recipe("zip before", lambda c: b"#!/bin/sh\n" + sound())
    yield Recipe("zip behind", lambda c: sound() + b"more")
    yield Recipe("zip twice", lambda c: sound() + a.instead_of_model(calls("os.system", f"touch {c}")))
    yield Recipe(
        "zip in a comment", lambda c: _with_comment(a.instead_of_model(calls("os.system", f"touch {c}"))[:60_000])
    )
    yield Recipe("zip of nothing", lambda c: b"PK\x05\x06" + bytes(18))
    yield Recipe("zip cut off", lambda c: sound()[:-30])
    yield Recipe("zip cut in half", lambda c: sound()[: len(sound()) // 2])
    yield Recipe("zip of its head alone", lambda c: sound()[:30])
    yield Recipe("zip with a pickle before it", lambda c: _payload(c) + sound())
    yield Recipe("pickle with a zip behind it", lambda c: _payload(c) + sound())
    yield Recipe("zip of a zip", lambda c: a.archive({"x/data.pkl": sound()}))
    yield Recipe("zip of a payload alone", lambda c: a.alone(_payload(c)), True)
    yield Recipe("zip without a pickle", lambda c: a.archive({"x/version": b"3"}))
    yield Recipe("zip that lacks a storage", lambda c: a.archive([*a.records().items()][:-3]))
    yield Recipe(
        "zip of 70,000 names", lambda c: a.archive({f"x/{number}": b"" for number in range(70_000)}), heavy=True
    )
    yield Recipe("zip packed by lzma", lambda c: a.archive(dict(a.records()), zipfile.ZIP_LZMA))
    yield Recipe("zip packed by bzip2", lambda c: a.archive(dict(a.records()), zipfile.ZIP_BZIP2))
    yield Recipe("gzip of a payload", lambda c: gzip.compress(_payload(c)))
    yield Recipe("gzip bomb", lambda c: gzip.compress(bytes(64 << 20)))
    yield Recipe("bzip2 of a payload", lambda c: bz2.compress(_payload(c)))
    yield Recipe("lzma of a payload", lambda c: lzma.compress(_payload(c)))
    yield Recipe("zlib of a payload", lambda c: zlib.compress(_payload(c)))
    yield Recipe("nothing", lambda c: b"")
    yield Recipe("a byte", lambda c: b"\x80")
    yield Recipe("a program", lambda c: f"import os\nos.system('touch {c}')\n".encode())
    yield Recipe("an executable", lambda c: b"\x7fELF" + bytes(200))
    yield Recipe("a page", lambda c: b"<script>alert(1)</script>")
    yield Recipe("an npz of objects", lambda c: a.archive({"a.npy": _npy(c)}))
    yield Recipe("an npy of objects", _npy)
    yield Recipe("an hdf5", lambda c: b"\x89HDF\r\n\x1a\n" + bytes(100))
    yield Recipe("zeros", lambda c: bytes(1 << 20))


def _with_comment(comment: bytes) -> bytes:
    return sound()[:-2] + struct.pack("<H", len(comment)) + comment


def _npy(canary: Path) -> bytes:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pickle.dumps(1) + _payload(canary)
