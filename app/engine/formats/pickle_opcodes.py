"""From pickle bytes to operations: (opcode, argument, position), every length checked against what is left.

The meaning of the operations is pickle_machine's. Opcodes: CPython's Lib/pickletools.py, PEP 307, 3154 and 574.
"""

import codecs
import mmap
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from app.engine.formats.limits import Limits, check_limit
from app.errors import MalformedFile, UnsupportedContent

Buffer = bytes | mmap.mmap
_Decoder = Callable[[Buffer, int, int], tuple[Any, int]]  # (buffer, position, end) -> argument, next position

OPCODE_NAMES: Final = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_LONGEST_LINE = 1 << 16
_INTEGER_BYTES = 512
_DIGITS = 1200  # of a decimal integer
_ESCAPED: Final = re.compile(rb"""(?:[^\\]|\\(?:[\\'"nrt]|x[0-9a-fA-F]{2}))*+""")  # what repr() of a Python 2 str holds

# Not written by any torch; each would reach beyond the pickle (a registry, an old-style class, an outer buffer).
_REFUSED: Final = frozenset(
    code[0]
    for code in (
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ),
        *(pickle.PERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    )
)


def read_operations(buffer: Buffer, start: int, limits: Limits) -> Iterator[tuple[int, Any, int]]:
    """The operations of the pickle at `start`, up to its STOP; FRAME is checked and left out."""
    position, last, frame_end = start, len(buffer), 0
    end = min(last, start + limits.max_pickle_bytes)
    decoders, count = _DECODERS, 0
    while True:
        count += 1
        if count > limits.max_operations:
            check_limit("operations in the pickle", count, limits.max_operations)
        if position >= end:
            check_limit("bytes of the pickle", last - start, limits.max_pickle_bytes)
            raise MalformedFile(f"pickle: it ends at byte {position:,} without STOP")
        code = buffer[position]
        decode = decoders[code]
        try:
            argument, after = decode(buffer, position + 1, end) if decode else (None, position + 1)
        except ValueError as error:
            if isinstance(error, _CutOff) and end < last:
                check_limit("bytes of the pickle", last - start, limits.max_pickle_bytes)
            raise malformed(str(error), code, position) from None
        if position < frame_end and (after > frame_end or code == _FRAME):
            raise malformed("an operation crosses the end of its frame", code, position)
        if code == _FRAME:
            assert argument is not None
            if argument > end - after:
                raise malformed(f"a frame of {argument:,} bytes, {end - after:,} are left", code, position)
            frame_end = after + argument
        else:
            yield code, argument, position
            if code == _STOP:
                return
        position = after


class _CutOff(ValueError):
    """An argument reaches behind the end."""


def malformed(what: str, code: int, position: int) -> MalformedFile:
    """The error for an operation that breaks the rules, with its name and place."""
    name = OPCODE_NAMES.get(code, f"0x{code:02x}")
    return MalformedFile(f"pickle, {name} at byte {position:,}: {what}", opcode=name, position=position)


def _refuse(buffer: Buffer, at: int, end: int) -> tuple[Any, int]:
    name = OPCODE_NAMES[buffer[at - 1]]
    raise UnsupportedContent(
        f"pickle, {name} at byte {at - 1:,}: torch never writes this operation and it is not accepted",
        remedy="Save the checkpoint again with a current torch.save.",
        opcode=name,
        position=at - 1,
    )


def _unknown(buffer: Buffer, at: int, end: int) -> tuple[Any, int]:
    raise ValueError("no such operation exists")


def _fixed(layout: str) -> _Decoder:
    packed = struct.Struct(layout)
    size, unpack = packed.size, packed.unpack_from

    def decode(buffer: Buffer, at: int, end: int) -> tuple[Any, int]:
        if at + size > end:
            raise _CutOff("its argument is cut off")
        return unpack(buffer, at)[0], at + size

    return decode


def _uint1(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    if at >= end:
        raise _CutOff("its argument is cut off")
    return buffer[at], at + 1


def _counted(layout: str, convert: Callable[[bytes], Any]) -> _Decoder:
    read_length = _fixed(layout)

    def decode(buffer: Buffer, at: int, end: int) -> tuple[Any, int]:
        length, at = read_length(buffer, at, end)
        if not 0 <= length <= end - at:
            raise _CutOff(f"declares {length:,} bytes, {end - at:,} are left")
        return convert(buffer[at : at + length]), at + length

    return decode


def _line(convert: Callable[[bytes], Any]) -> _Decoder:
    def decode(buffer: Buffer, at: int, end: int) -> tuple[Any, int]:
        stop = buffer.find(b"\n", at, min(end, at + _LONGEST_LINE))
        if stop < 0:
            raise _CutOff("its line has no end")
        return convert(buffer[at:stop]), stop + 1

    return decode


def _global(buffer: Buffer, at: int, end: int) -> tuple[tuple[str, str], int]:
    module, at = _text_line(buffer, at, end)
    name, at = _text_line(buffer, at, end)
    return (module, name), at


def _text(raw: bytes) -> str:
    # Python's pickler writes lone surrogates with this handler, and so reads them.
    return raw.decode("utf-8", "surrogatepass")


def _python2_text(raw: bytes) -> str:
    """A Python 2 `str`, read as torch.load does unless told otherwise."""
    return raw.decode("utf-8")


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:] or not _ESCAPED.fullmatch(line[1:-1]):
        raise ValueError("its string is not quoted as Python 2 does it")
    return _python2_text(codecs.escape_decode(line[1:-1])[0])


def _raw_unicode(line: bytes) -> str:
    return str(line, "raw-unicode-escape")


def _digits(line: bytes) -> int:
    text = line.decode("ascii").strip()
    if len(text) > _DIGITS or not text.removeprefix("-").isdecimal():
        raise ValueError("it is not a decimal integer")
    return int(text)


def _index(line: bytes) -> int:
    value = _digits(line)
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError("it is not a memo index")
    return value


def _int(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else _digits(line)


def _long(line: bytes) -> int:
    return _digits(line.removesuffix(b"L"))


def _float(line: bytes) -> float:
    if len(line) > _DIGITS:
        raise ValueError("it is not a number")
    return float(line)


def _little_endian(raw: bytes) -> int:
    if len(raw) > _INTEGER_BYTES:
        raise ValueError(f"an integer of {len(raw):,} bytes, at most {_INTEGER_BYTES:,} are read")
    return int.from_bytes(raw, "little", signed=True)


_text_line = _line(_python2_text)
_FRAME, _STOP = pickle.FRAME[0], pickle.STOP[0]
_ARGUMENTS: Final[dict[bytes, _Decoder]] = {
    pickle.INT: _line(_int),
    pickle.LONG: _line(_long),
    pickle.FLOAT: _line(_float),
    pickle.STRING: _line(_quoted),
    pickle.UNICODE: _line(_raw_unicode),
    pickle.GET: _line(_index),
    pickle.PUT: _line(_index),
    pickle.GLOBAL: _global,
    pickle.BININT: _fixed("<i"),
    pickle.BININT1: _uint1,
    pickle.BININT2: _fixed("<H"),
    pickle.BINFLOAT: _fixed(">d"),
    pickle.LONG1: _counted("<B", _little_endian),
    pickle.LONG4: _counted("<i", _little_endian),
    pickle.SHORT_BINSTRING: _counted("<B", _python2_text),
    pickle.BINSTRING: _counted("<i", _python2_text),
    pickle.SHORT_BINUNICODE: _counted("<B", _text),
    pickle.BINUNICODE: _counted("<I", _text),
    pickle.BINUNICODE8: _counted("<Q", _text),
    pickle.BYTEARRAY8: _counted("<Q", bytearray),
    pickle.SHORT_BINBYTES: _counted("<B", bytes),
    pickle.BINBYTES: _counted("<I", bytes),
    pickle.BINBYTES8: _counted("<Q", bytes),
    pickle.FRAME: _fixed("<Q"),
    pickle.PROTO: _uint1,
    pickle.BINGET: _uint1,
    pickle.LONG_BINGET: _fixed("<I"),
    pickle.BINPUT: _uint1,
    pickle.LONG_BINPUT: _fixed("<I"),
}


def _decoders() -> list[_Decoder | None]:
    table: list[_Decoder | None] = [_unknown] * 256
    for code in OPCODE_NAMES:
        table[code] = _refuse if code in _REFUSED else _ARGUMENTS.get(bytes([code]))
    return table


_DECODERS: Final = _decoders()
