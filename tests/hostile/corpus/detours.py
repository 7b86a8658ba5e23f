"""Calls by a detour: the pickle calls nothing that is forbidden, but has something harmless call it while it is loaded.

What is called is an instance of a user's class, which a file may hold as long as nobody calls it.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import name, plain, text
from tests.hostile.corpus.case import Recipe
from tests.hostile.corpus.shadowing import module

_PLANTED = "tests.hostile.planted"
_TORCH = "torch._dynamo.eval_frame"
_EXPANDED = "torch.nn.utils._expanded_weights.instance_norm_expanded_weights"
_TIMM = "timm.optim.adamw.AdamWLegacy"
_CONVERT = "torch.ao.quantization.fx.convert"


def _canary(path: Path) -> bytes:
    """An instance that makes the canary when it is called."""
    return a.state(name(_PLANTED, "Canary") + b")\x81", path=plain(str(path)))


def _namespace(**attributes: bytes) -> bytes:
    return a.state(name("argparse", "Namespace") + b")\x81", **attributes)


def _rebuilt(kind: str, base: str, state: bytes) -> bytes:
    return a.call(name("copyreg", "_reconstructor"), name(_PLANTED, kind), name("builtins", base), state)


def _new(path: str, *args: bytes) -> bytes:
    return name(*path.rsplit(".", 1)) + a.arguments(*args) + b"\x81"


def _optimizer(**tables: bytes) -> bytes:
    return a.state(_new("torch.optim.adam.Adam"), **{"defaults": b"}", "state": b"}", "param_groups": b"]"} | tables)


def _asked(call: bytes) -> bytes:
    """An object of the user's that is asked for its defaults."""
    return a.state(_new("tests.hostile.planted.Asked"), setdefault=call)


def _progress_bar(canary: Path) -> bytes:
    """One that is dropped when the file was read, and writes its last line: the text that its state says."""
    exec_ = name("mpmath.libmp.backend", "exec_")
    numbers = {
        **dict.fromkeys(("desc", "unit"), ""),
        **dict.fromkeys(("disable", "unit_scale", "gui"), False),
        **dict.fromkeys(("postfix", "total", "_ema_dn", "_ema_miniters", "dynamic_ncols", "colour"), None),
        "pos": 0,
        "initial": 0,
        "n": 1,
        "nrows": 5,
        "ncols": 4096,
        "unit_divisor": 1000,
        "smoothing": 0.3,
        "last_print_t": 5.0,
        "start_t": 1.0,
        "delay": 0.0,
        "mininterval": 0.1,
        "miniters": 0,
        "leave": True,
        "ascii": True,
        "bar_format": f"open({str(canary)!r}, 'w').close()",
    }
    attributes = {key: plain(value) for key, value in numbers.items()}
    return a.state(
        _new("tqdm.std.tqdm"),
        **attributes,
        sp=exec_,
        _time=name("builtins", "float"),
        fp=_namespace(write=exec_),
    )


def _pretends_to_be_a_module(call: bytes) -> bytes:
    return _namespace(forward=b"N", training=b"\x88", __call__=plain("a text"), _initialize_hook=call)


_FIRES: dict[str, Callable[[Path], bytes]] = {
    "a table that is asked for its keys": lambda c: _rebuilt("Table", "dict", _namespace(keys=_canary(c))),
    "a text of a module": lambda c: _rebuilt("Text", "str", module(extra_repr=_canary(c))),
    "a number's text of a module": lambda c: _new("builtins.str", module(extra_repr=_canary(c))),
    "a list of a module's children": lambda c: _rebuilt(
        "Row",
        "list",
        module(("torch.nn.modules.container", "ModuleList"), _modules=_namespace(values=_canary(c))),
    ),
    "a parameter of what detaches": lambda c: _new("torch.nn.parameter.Parameter", _namespace(detach=_canary(c))),
    "a group of an optimizer": lambda c: _optimizer(param_groups=b"]" + _namespace(setdefault=_canary(c)) + b"a"),
    "a group that is a module": lambda c: _optimizer(
        param_groups=b"]" + module(_modules=b"}" + text("setdefault") + _canary(c) + b"s") + b"a"
    ),
    "the settings of an optimizer": lambda c: _optimizer(defaults=_namespace(setdefault=_canary(c))),
    "the states of an optimizer": lambda c: _optimizer(
        state=_namespace(get=_canary(c)), param_groups=plain([{"params": [1]}])
    ),
    "a compiled module's context": lambda c: a.call(
        name(_TORCH, "OptimizedModule"), _pretends_to_be_a_module(b"N"), _canary(c)
    ),
    "a compiled module's context in its state": lambda c: a.state(
        _new(f"{_TORCH}.OptimizedModule"),
        dynamo_ctx=_canary(c),
        _modules=b"}" + text("_orig_mod") + _pretends_to_be_a_module(b"N") + b"s",
    ),
    "a progress bar": _progress_bar,
    "a partial under another module's name": lambda c: _new(
        "torch.nn.parameter.Parameter",
        _namespace(detach=_new(f"{_EXPANDED}.partial", _canary(c), plain("a"), plain("b"))),
    ),
}

_QUIET: dict[str, bytes] = {
    "the settings of an optimizer of timm": a.state(_new(_TIMM), defaults=_asked(name("m", "f"))),
    "a group of an optimizer of timm": a.state(_new(_TIMM), param_groups=b"]" + _asked(name("m", "f")) + b"a"),
    "a lock that removes its file": a.state(
        _new("filelock._soft.SoftFileLock"), _context=_namespace(lock_counter=b"N")
    ),
    "an image of any size": _new("PIL.Image.Image") + plain([{}, "RGB", (60_000, 60_000), None, b"a"]) + b"b",
    "a function that runs text": name("mpmath.libmp.backend", "exec_"),
    "a function that a package of the user's imports": name("m", "exec_"),
    "a file that is written to": _namespace(write=name("m", "f")),
    "a graph under another module's name": _new(f"{_CONVERT}.GraphModule"),
    "a graph of the user's": _new("torchvision.models.feature_extraction.DualGraphModule"),
    "a partial that a package imports": _new("timm.layers.norm.partial", name("m", "f")),
    "a search for a module": name("torch.cuda.amp.common", "find_spec"),
    "a library of operators": _new("torch.nn.attention._fa3.Library"),
    "a tensor of a size": _new("torch.Tensor", plain(1 << 40)),
    "bytes of a size": _new("builtins.bytes", plain(1 << 40)),
    "a tuple of a range": _new("builtins.tuple", a.calls("builtins.range", 1 << 60)),
    "a range for the user's tuple": _new("m.Point", a.calls("builtins.range", 1 << 60)),
    "a fraction with all its digits": a.calls("fractions.Fraction", "1e9999999999"),
    "a number of a long text": a.calls("builtins.int", "9" * 100_000),
    "layers without end": module(
        ("torch.nn.modules.rnn", "LSTM"), all_weights=plain([[1]]), num_layers=plain(1 << 60), bidirectional=b"\x89"
    ),
    "a type with fields elsewhere": a.calls("numpy.dtype", "V8", False, True)
    + a.arguments(
        plain(3),
        plain("|"),
        b"N",
        plain(("a",)),
        b"}" + text("a") + a.arguments(a.calls("numpy.dtype", "f8", False, True), plain(1 << 30)) + b"s",
        plain(8),
        plain(1),
        plain(0),
    )
    + b"b",
    "a type that says it holds objects": a.calls("numpy.dtype", "f8", False, True)
    + plain((3, "<", None, None, None, -1, -1, 63))
    + b"b",
    "an array of any size": a.call(
        name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), plain((1 << 40,)), plain(b"b")
    ),
    "an array of objects": a.call(
        name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), plain((1,)), plain("O")
    ),
    "a maker of missing values": a.call(name("collections", "defaultdict"), name("m", "list")),
    "a maker of missing values by a slot": a.calls("collections.defaultdict")
    + b"N}"
    + text("default_factory")
    + name("m", "f")
    + b"s\x86b",
    "an ordered dictionary that is asked": a.state(a.calls("collections.OrderedDict"), items=name("m", "f")),
}

_MANY, _WIDE = 20_000, 20_000
_LIST = b"](" + b"K\x01" * _WIDE + b"e"
_TABLE = b"}(" + b"".join(plain(number) + b"N" for number in range(_WIDE)) + b"u"
_PLACE = b"r\x01\x00\x00\x00"
_AGAIN = b"j\x01\x00\x00\x00"


def _shared(value: bytes, each: bytes) -> bytes:
    """What stands in the memo once and is given to many: looked at each time it would take hours."""
    return value + _PLACE + b"0](" + each * _MANY + b"e"


_CROWDS = {
    "a list for many calls": _shared(_LIST, name("builtins", "slice") + _AGAIN + b"\x85R"),
    "arguments of many calls": _shared(b"(" + b"K\x01" * _WIDE + b"t", name("torch", "device") + _AGAIN + b"R"),
    "a list for many objects": _shared(_LIST, _new("torch.nn.modules.linear.Identity")[:-3] + _AGAIN + b"\x85\x81"),
    "a state of many objects": _shared(_TABLE, name("m", "C") + b")\x81" + _AGAIN + b"b"),
    "settings of many types": _shared(_TABLE, name("numpy", "dtype") + plain("V8") + _AGAIN + b"\x86R"),
    "a maker that is a list": a.call(name("collections", "defaultdict"), b"]"),
    "a type with lists for names": a.calls("numpy.dtype", "V8") + plain((3, "|", None, ([],), {}, 8, 1, 0)) + b"b",
}


def recipes() -> Iterator[Recipe]:
    for what, content in _CROWDS.items():
        yield Recipe(f"crowd: {what}", lambda c, content=content: a.instead_of_model(content))
    for what, operations in _FIRES.items():
        yield Recipe(f"detour: {what}", lambda c, made=operations: a.beside_model(made(c)), fires=True)
    for what, content in _QUIET.items():
        yield Recipe(f"detour: {what}", lambda c, content=content: a.beside_model(content))
    for place in _PLACES:
        yield Recipe(f"detour: legacy, {place}", lambda c, at=place: _around(at, c), fires=True)
    yield Recipe("detour: legacy, and a tar archive", _tar, fires=True)


_PLACES = ("in the protocol", "in the system", "in the list of storages")


def _around(place: str, canary: Path) -> bytes:
    """A legacy file of which a pickle beside the one of the object holds a call; the memo keeps what it gave."""
    payload = a.call(name("os", "system"), plain(f"touch {canary}")) + b"q\x000"
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    values = {"magic": 0x1950A86A20F9469CFC6C, "in the protocol": 1001, "in the system": system}
    parts = {key: plain(value) for key, value in values.items()}
    parts |= {"object": b"}" + text("model") + module() + b"s", "in the list of storages": b"]"}
    return b"".join(a.whole(payload + part if key == place else part) for key, part in parts.items())


def _tar(canary: Path) -> bytes:
    """A legacy file that begins as a tar archive, in which torch looks first."""
    nested = a.whole(a.call(name("os", "system"), plain(f"touch {canary}")))
    head = a.whole(plain(0x1950A86A20F9469CFC6C)) + a.whole(plain(1001))
    system = b"}(" + text("little_endian") + b"\x88" + text("") + b"B"
    begun = head + b"\x80\x02" + system
    # The rest of the header, the member "storages" and what follows lie in a text that nobody reads.
    members = b"".join(_member(inner, content) for inner, content in (("storages", nested), ("tensors", nested)))
    name_left = 100 - len(begun) - 4
    inside = b"x" * name_left + _fields(0) + members + b"\0" * 1024
    opened = begun + struct.pack("<I", len(inside))
    header = bytearray((opened + inside)[:512])
    header[148:156] = b" " * 8
    checksum = f"{sum(header):06o}\0 ".encode()
    whole = bytearray(opened + inside)
    whole[148:156] = checksum
    return bytes(whole) + b"u." + a.whole(b"}" + text("model") + module() + b"s") + a.whole(b"]")


def _fields(size: int) -> bytes:
    """A header from behind the name on, with its checksum still to come."""
    return (
        b"0000644\0" + b"0000000\0" * 2 + f"{size:011o}\0".encode() + b"0" * 11 + b"\0" + b" " * 8 + b"0" + b"\0" * 355
    )


def _member(inner: str, content: bytes) -> bytes:
    header = bytearray(inner.encode().ljust(100, b"\0") + _fields(len(content)))
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + content.ljust(-(-len(content) // 512) * 512, b"\0")
