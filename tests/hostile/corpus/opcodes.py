"""The same call by every way that the pickle language has: other opcodes, memo, frames, marks, protocols."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import name, plain, text
from tests.hostile.corpus.case import Recipe

Ways = dict[str, tuple[Callable[[str], bytes], bool]]

_SYSTEM = name("os", "system")


def _short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def _frame(content: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(content)) + content


def _args(command: str) -> bytes:
    return text(command) + b"\x85"


WAYS: Ways = {
    "GLOBAL and REDUCE": (lambda s: _SYSTEM + _args(s) + b"R", True),
    "STACK_GLOBAL": (lambda s: _short("os") + _short("system") + b"\x93" + _args(s) + b"R", True),
    "STACK_GLOBAL by the memo": (
        lambda s: _short("system") + b"q\x610" + _short("os") + b"q\x620h\x62h\x61\x93" + _args(s) + b"R",
        True,
    ),
    "STACK_GLOBAL by a memo that is overwritten": (
        lambda s: (
            _short("print") + b"q\x050" + _short("system") + b"q\x050" + _short("os") + b"h\x05\x93" + _args(s) + b"R"
        ),
        True,
    ),
    "STACK_GLOBAL with DUP": (lambda s: _short("os") + b"20" + _short("system") + b"\x93" + _args(s) + b"R", True),
    "STACK_GLOBAL of Python 2 strings": (
        lambda s: b"U\x02osU\x06system\x93" + _args(s) + b"R",
        True,
    ),
    "STACK_GLOBAL of lines": (lambda s: b"Vos\nVsystem\n\x93" + _args(s) + b"R", True),
    "STACK_GLOBAL of escaped lines": (lambda s: b"V\\u006fs\nVsyste\\u006d\n\x93" + _args(s) + b"R", True),
    "STACK_GLOBAL of quoted lines": (lambda s: b"S'\\x6fs'\nS'system'\n\x93" + _args(s) + b"R", True),
    "STACK_GLOBAL of long strings": (
        lambda s: (
            b"\x8d" + struct.pack("<Q", 2) + b"os" + b"\x8d" + struct.pack("<Q", 6) + b"system\x93" + _args(s) + b"R"
        ),
        True,
    ),
    "STACK_GLOBAL of numbers": (lambda s: b"K\x01K\x02\x93" + _args(s) + b"R", False),
    "a dotted name": (lambda s: b"ctorch.serialization\nos.system\n" + _args(s) + b"R", True),
    "a dotted name by the stack": (
        lambda s: _short("torch.serialization") + _short("os.system") + b"\x93" + _args(s) + b"R",
        True,
    ),
    "a dotted name through the loader": (lambda s: b"ctorch\nserialization.os.system\n" + _args(s) + b"R", True),
    "a dotted name through typing": (lambda s: b"cpathlib\nos.system\n" + _args(s) + b"R", True),
    "INST": (lambda s: b"(" + text(s) + b"ios\nsystem\n", True),
    "OBJ": (lambda s: b"(" + _SYSTEM + text(s) + b"o", True),
    "NEWOBJ": (lambda s: _SYSTEM + _args(s) + b"\x81", False),
    "NEWOBJ of a process": (lambda s: name("subprocess", "Popen") + b")\x81", False),
    "NEWOBJ_EX": (lambda s: _SYSTEM + _args(s) + b"}\x92", False),
    "NEWOBJ_EX with keywords": (
        lambda s: name("subprocess", "Popen") + b")}" + text("args") + text(s) + b"s\x92",
        False,
    ),
    "a reconstructor": (
        lambda s: a.call(name("copyreg", "_reconstructor"), name("os", "system"), name("builtins", "object"), b"N"),
        False,
    ),
    "newobj as a function": (lambda s: a.call(name("copyreg", "__newobj__"), name("subprocess", "Popen")), False),
    "newobj_ex as a function": (
        lambda s: a.call(name("copyreg", "__newobj_ex__"), name("subprocess", "Popen"), b")", b"}"),
        False,
    ),
    "EXT1": (lambda s: b"\x82\x01" + _args(s) + b"R", False),
    "EXT2": (lambda s: b"\x83\x01\x00" + _args(s) + b"R", False),
    "EXT4": (lambda s: b"\x84\x01\x00\x00\x00" + _args(s) + b"R", False),
    "an extension that is registered": (
        lambda s: (
            a.call(name("copyreg", "add_extension"), plain("os"), plain("system"), plain(240))
            + b"0\x82\xf0"
            + _args(s)
            + b"R"
        ),
        True,
    ),
    "PERSID": (lambda s: b"Pos.system\n", False),
    "BINPERSID of a call": (lambda s: _SYSTEM + _args(s) + b"RQ", True),
    "BINPERSID of a class": (lambda s: a.arguments(text("module"), _SYSTEM, text("x"), text("y")) + b"Q", False),
    "BINPERSID with a call for a class": (
        lambda s: a.arguments(text("storage"), _SYSTEM + _args(s) + b"R", text("0"), text("cpu"), b"K\x01") + b"Q",
        True,
    ),
    "a storage of a class that is none": (
        lambda s: a.arguments(text("storage"), name("os", "system"), text("0"), text("cpu"), b"K\x01") + b"Q",
        False,
    ),
    "a storage whose class ends so": (
        lambda s: a.arguments(text("storage"), name("os", "systemStorage"), text("0"), text("cpu"), b"K\x01") + b"Q",
        False,
    ),
    "NEXT_BUFFER": (lambda s: b"\x97", False),
    "READONLY_BUFFER": (lambda s: b"N\x98", False),
    "a call that is dropped": (lambda s: _SYSTEM + _args(s) + b"R0N", True),
    "a call without arguments that is dropped": (lambda s: name("os", "getpid") + b")R0N", False),
    "a call that is dropped with its mark": (lambda s: b"(" + _SYSTEM + _args(s) + b"R1N", True),
    "a call in the memo alone": (lambda s: _SYSTEM + _args(s) + b"Rq\x630N", True),
    "a call as a key": (lambda s: b"}" + _SYSTEM + _args(s) + b"RNs", True),
    "a call as a key of SETITEMS": (lambda s: b"}(" + _SYSTEM + _args(s) + b"RNu", True),
    "a call in a set": (lambda s: b"\x8f(" + _SYSTEM + _args(s) + b"R\x90", True),
    "a call in a frozenset": (lambda s: b"(" + _SYSTEM + _args(s) + b"R\x91", True),
    "a call in a list": (lambda s: b"](" + _SYSTEM + _args(s) + b"Re", True),
    "a call appended": (lambda s: b"]" + _SYSTEM + _args(s) + b"Ra", True),
    "a call as an argument of a tensor": (
        lambda s: a.call(
            name("torch._utils", "_rebuild_tensor_v2"), _SYSTEM + _args(s) + b"R", b"K\x00", b")", b")", b"\x89", b"N"
        ),
        True,
    ),
    "a call as the name of a global": (lambda s: _short("os") + _SYSTEM + _args(s) + b"R\x93", True),
    "a call as a state": (
        lambda s: name("torch.nn.modules.linear", "Identity") + b")\x81" + _SYSTEM + _args(s) + b"Rb",
        True,
    ),
    "a state of a module": (lambda s: name("torch", "nn") + b"}" + text("Conv2d") + _SYSTEM + b"sb", False),
    "a state of a class": (lambda s: name("torch.nn", "Conv2d") + b"}" + text("forward") + _SYSTEM + b"sb", False),
    "a setter": (
        lambda s: (
            name("torch.nn.modules.linear", "Identity")
            + b")\x81q\x63"
            + name("os", "putenv")
            + b"h\x63"
            + text("x")
            + b"\x86R0"
        ),
        False,
    ),
    "a call of a number": (lambda s: b"K\x01" + _args(s) + b"R", False),
    "a call of a text": (lambda s: text("os.system") + _args(s) + b"R", False),
    "a call with a list": (lambda s: _SYSTEM + b"]" + text(s) + b"aR", False),
    "a call of itself": (lambda s: _SYSTEM + _args(s) + b"R)R", True),
    "in a frame": (lambda s: _frame(_SYSTEM + _args(s) + b"R"), True),
    "after an empty frame": (lambda s: _frame(b"") + _SYSTEM + _args(s) + b"R", True),
    "across a frame": (lambda s: b"\x95" + struct.pack("<Q", 3) + _SYSTEM + _args(s) + b"R", False),
    "a frame within a frame": (lambda s: _frame(_frame(_SYSTEM + _args(s) + b"R")), False),
    "a second protocol": (lambda s: b"\x80\x04" + _SYSTEM + _args(s) + b"R", True),
    "a protocol that does not exist": (lambda s: b"\x80\x63" + _SYSTEM + _args(s) + b"R", False),
    "an argument of a long string": (
        lambda s: _SYSTEM + b"\x8d" + struct.pack("<Q", len(s)) + s.encode() + b"\x85R",
        True,
    ),
    "an argument of bytes": (lambda s: _SYSTEM + b"C" + bytes([len(s)]) + s.encode() + b"\x85R", True),
    "an argument of a Python 2 line": (lambda s: _SYSTEM + f"S'{s}'\n".encode() + b"\x85R", True),
    "arguments by the memo": (lambda s: text(s) + b"\x85q\x620" + _SYSTEM + b"h\x62R", True),
    "arguments by a text index": (lambda s: text(s) + b"\x85p98\n0" + _SYSTEM + b"g98\nR", True),
    "arguments by a wide index": (
        lambda s: text(s) + b"\x85r\xff\xff\x00\x000" + _SYSTEM + b"j\xff\xff\x00\x00R",
        True,
    ),
    "an index that is below zero": (lambda s: b"Np-1\n" + _SYSTEM + _args(s) + b"R", False),
    "after what another pickle would end with": (lambda s: _SYSTEM + _args(s) + b"R" + b"." + b"N", True),
    "a name with a line break": (lambda s: text("os\nsystem") + text("x") + b"\x93" + _args(s) + b"R", False),
    "a name with half a character": (
        lambda s: b"X\x03\x00\x00\x00\xed\xb2\x80" + text("x") + b"\x93" + _args(s) + b"R",
        False,
    ),
    "a name with a zero": (lambda s: text("os\0") + text("system") + b"\x93" + _args(s) + b"R", False),
    "a name that is empty": (lambda s: b"c\n\n" + _args(s) + b"R", False),
    "a name in wide letters": (lambda s: text("ｏｓ") + text("ｓｙｓｔｅｍ") + b"\x93" + _args(s) + b"R", False),
    "a name with blanks": (lambda s: b"c os \n system \n" + _args(s) + b"R", False),
    "a relative name": (lambda s: b"c.os\nsystem\n" + _args(s) + b"R", False),
    "a carriage return": (lambda s: b"cos\r\nsystem\r\n" + _args(s) + b"R", False),
    "without STOP": (lambda s: _SYSTEM + _args(s) + b"R\xff", True),
    "an unknown operation": (lambda s: _SYSTEM + _args(s) + b"R\xfe", True),
    "an empty stack": (lambda s: _SYSTEM + _args(s) + b"R00000", True),
    "an open mark": (lambda s: b"(" + _SYSTEM + _args(s) + b"R", True),
}
_PROTOCOL_FOUR = ("a dotted name", "STACK_GLOBAL")


def recipes() -> Iterator[Recipe]:
    for way, (operations, fires) in WAYS.items():
        protocol = 4 if way.startswith(_PROTOCOL_FOUR) else 2
        yield Recipe(
            f"opcode {way}",
            lambda c, operations=operations, protocol=protocol: a.beside_model(operations(f"touch {c}"), protocol),
            fires,
        )
    for protocol in range(6):
        yield Recipe(f"protocol {protocol}", lambda c, p=protocol: a.beside_model(_system(c), p), True)
        yield Recipe(f"protocol {protocol}, legacy", lambda c, p=protocol: a.legacy(_system(c), p), True)
        yield Recipe(f"protocol {protocol}, alone", lambda c, p=protocol: a.whole(_system(c), p))
    yield from _of_legacy_files()


def _system(canary: Path) -> bytes:
    return _SYSTEM + _args(f"touch {canary}") + b"R"


def _of_legacy_files() -> Iterator[Recipe]:
    """A payload in each of the pickles that a legacy file has before and behind the model's."""
    magic, system = 0x1950A86A20F9469CFC6C, {"little_endian": True}
    sound = [a.whole(plain(value)) for value in (magic, 1001, system, None, [])]
    for position, part in enumerate(("the magic number", "the protocol", "the machine", "the object", "the keys")):
        yield Recipe(
            f"legacy, in {part}",
            lambda c, p=position: b"".join([*sound[:p], a.whole(_system(c) + b"0" + sound[p][2:-1]), *sound[p + 1 :]]),
            position > 0,
        )
    yield Recipe(
        "legacy, a class with its source",
        lambda c: a.legacy(a.arguments(text("module"), name("os", "system"), text("x.py"), text("import os")) + b"Q"),
    )
