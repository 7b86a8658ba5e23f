"""Modules that pretend to be others: attributes, hooks and classes by which a loaded model would run something else."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import name, plain, text
from tests.hostile.corpus.case import Recipe

_DICT = name("collections", "OrderedDict") + b")R"
_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_pre_hooks"),
)
_SYSTEM = name("os", "system")


def module(path: tuple[str, str] = ("torch.nn.modules.linear", "Identity"), **attributes: bytes) -> bytes:
    """A module with these attributes beside its tables."""
    tables = dict.fromkeys((*_TABLES, *_HOOKS), _DICT) | {"training": b"\x89"}
    return a.state(name(*path) + b")\x81", **(tables | attributes))


def _one(value: bytes) -> bytes:
    return _DICT + b"K\x00" + value + b"s"


_DUNDERS = (
    *(
        "__class__",
        "__dict__",
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__setstate__",
        "__deepcopy__",
        "__copy__",
    ),
    *("__call__", "__getattr__", "__getattribute__", "__del__", "__init__", "__new__", "__iter__", "__len__", "__eq__"),
    *("__hash__", "__bool__", "__enter__", "__exit__", "__torch_function__", "__module__", "__bases__", "__mro__"),
)
_METHODS = (
    *("forward", "eval", "train", "state_dict", "load_state_dict", "parameters", "named_modules", "children", "to"),
    *(
        "float",
        "half",
        "fuse",
        "_apply",
        "_call_impl",
        "_wrapped_call_impl",
        "_conv_forward",
        "_get_name",
        "extra_repr",
    ),
)


def recipes() -> Iterator[Recipe]:
    for key in _DUNDERS:
        yield _beside(f"shadow {key}", lambda c, key=key: module(**{key: _SYSTEM}))
    for key in _DUNDERS[:6]:
        yield _beside(
            f"shadow {key} in the user's class", lambda c, key=key: module(("m", "Net"), **{key: name("m", "f")})
        )
        yield _beside(
            f"shadow {key} by a slot",
            lambda c, key=key: module(("m", "Net"))[:-1] + b"}" + text(key) + name("m", "f") + b"s\x86b",
        )
    for key in _METHODS:
        yield _beside(f"method {key}", lambda c, key=key: module(**{key: _SYSTEM}))
    for table in _HOOKS:
        yield _beside(f"hook {table}", lambda c, table=table: module(**{table: _one(_SYSTEM)}))
    yield from _more()


def _beside(what: str, operations: Callable[[Path], bytes]) -> Recipe:
    return Recipe(what, lambda c: a.alone(a.whole(b"}" + text("model") + operations(c) + b"s")))


def _more() -> Iterator[Recipe]:
    command = lambda c: plain(f"touch {c}")  # noqa: E731  # said once
    getattr_of = lambda target, key: a.call(name("builtins", "getattr"), target, plain(key))  # noqa: E731
    yield _beside(
        "a module made by a call", lambda c: a.call(name("torch.nn", "Sequential"), a.call(_SYSTEM, command(c)))
    )
    yield _beside("a method of the model", lambda c: module(forward=getattr_of(module(), "__init__")))
    yield _beside("a private method", lambda c: module(forward=getattr_of(module(), "_apply")))
    yield _beside("a class of the model", lambda c: module(forward=getattr_of(module(), "__class__")))
    yield _beside("a method of a name", lambda c: module(forward=getattr_of(name("os", "path"), "forward")))
    yield _beside("a method that is called", lambda c: getattr_of(module(), "forward") + b")R")
    yield _beside(
        "a function of torch that opens",
        lambda c: module(f=getattr_of(name("torch._C", "_VariableFunctionsClass"), "from_file")),
    )
    yield _beside(
        "a partial as forward", lambda c: module(forward=a.call(name("functools", "partial"), _SYSTEM, command(c)))
    )
    yield _beside(
        "a hook with a state",
        lambda c: module(_forward_hooks=_one(a.state(name("subprocess", "Popen") + b")\x81", args=command(c)))),
    )
    yield _beside(
        "a finaliser",
        lambda c: module(
            x=a.state(name("tempfile", "_TemporaryFileCloser") + b")\x81", name=command(c), delete=b"\x88")
        ),
    )
    yield _beside(
        "a directory that cleans up",
        lambda c: module(x=a.state(name("tempfile", "TemporaryDirectory") + b")\x81", name=command(c))),
    )
    yield _beside(
        "a process that is waited for",
        lambda c: module(x=a.state(name("subprocess", "Popen") + b")\x81", pid=b"K\x01")),
    )
    yield _beside(
        "a traced graph",
        lambda c: a.call(
            name("torch.fx.graph_module", "reduce_graph_module"), plain({"_code": f"open({str(c)!r}, 'w')"}), plain("")
        ),
    )
    yield _beside(
        "a scripted module",
        lambda c: a.state(name("torch.jit._script", "RecursiveScriptModule") + b")\x81", _c=command(c)),
    )
    yield _beside(
        "a package",
        lambda c: a.state(name("torch.package.package_importer", "PackageImporter") + b")\x81", filename=command(c)),
    )
    yield _beside(
        "a compiler",
        lambda c: module(
            f=a.state(
                name("torch", "_TorchCompileInductorWrapper") + b")\x81", config=plain({"cpp.cxx": ["touch", str(c)]})
            )
        ),
    )
    yield _beside(
        "a compiler's switch",
        lambda c: module(
            f=a.state(
                name("torch._dynamo.eval_frame", "OptimizeContext") + b")\x81", compiler_config=plain({"x": str(c)})
            )
        ),
    )
    yield _beside(
        "a parameter and an attribute of one name",
        lambda c: module(weight=b"K\x01", _parameters=_DICT + text("weight") + b"Ns"),
    )
    yield _beside("a table that is a list", lambda c: module(_modules=b"]"))
    yield _beside("a table with numbers for names", lambda c: module(_modules=_DICT + b"K\x01" + module() + b"s"))
    yield _beside("a child without a name", lambda c: module(_modules=_DICT + text("") + module() + b"s"))
    yield _beside(
        "a child with a path for a name", lambda c: module(_modules=_DICT + text("../../x") + module() + b"s")
    )
    yield _beside(
        "a child with half a character",
        lambda c: module(_modules=_DICT + b"X\x03\x00\x00\x00\xed\xb2\x80" + module() + b"s"),
    )
    yield _beside("training is a call", lambda c: module(training=a.call(_SYSTEM, command(c))))
    yield _beside("a random state", lambda c: module(x=a.call(name("numpy.random._pickle", "__randomstate_ctor"))))
    yield _beside("a module of ctypes", lambda c: module(x=name("ctypes", "cdll")))
    yield _beside("an import that acts", lambda c: module(x=name("antigravity", "geohash")))
    yield _beside("an import of a test", lambda c: module(x=name("test.regrtest", "main")))
    yield _beside("the user's main with its builtins", lambda c: module(x=name("__main__", "__builtins__")))
    yield _beside(
        "an object array", lambda c: module(x=a.call(name("numpy", "dtype"), plain("O8"), plain(False), plain(True)))
    )
    yield _beside(
        "a scalar of an object",
        lambda c: module(
            x=a.call(
                name("numpy.core.multiarray", "scalar"),
                a.call(name("numpy", "dtype"), plain("O"), plain(0), plain(1)),
                plain(b"12345678"),
            )
        ),
    )
    yield _beside(
        "an array of addresses",
        lambda c: module(
            x=a.call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), plain((0,)), plain(b"b"))
            + a.arguments(
                plain(1),
                plain((1,)),
                a.call(name("numpy", "dtype"), plain("O8"), plain(0), plain(1)),
                b"\x89",
                plain(b"12345678"),
            )
            + b"b"
        ),
    )
    yield _beside(
        "an array of another class",
        lambda c: module(
            x=a.call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "matrix"), plain((0,)), plain(b"b"))
        ),
    )
    yield _beside("memory without end", lambda c: module(x=a.call(name("builtins", "bytearray"), plain(1 << 45))))
    yield _beside(
        "a text of a strange encoding",
        lambda c: module(x=a.call(name("_codecs", "encode"), plain("x"), plain("rot_13"))),
    )
