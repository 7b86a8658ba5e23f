"""Names that a file may hold: values, torch's layers, classes of the user.

A loader imports whatever a file names. Of the standard library, and of torch, only what is listed here is held to be
data; a name of any other package is the user's own code, which may be instantiated and held, but not called.
"""

import re
from functools import cache
from typing import Final

from app.engine.ir.node import Global
from app.engine.loading.packages import STANDARD, TOOLS
from app.engine.loading.torch_names import is_torch_value

_MODULE: Final = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*")
_OUTER: Final = re.compile(r"_*[A-Z]\w*")  # of `Outer.Inner`: a class, and no module that a module imports
_DUNDER: Final = re.compile(r"__\w+__")

_BUILTINS: Final = frozenset(
    {
        *("object", "int", "long", "float", "complex", "bool", "str", "unicode", "bytes", "bytearray", "list"),
        *("tuple", "dict", "set", "frozenset", "slice", "range", "xrange", "Ellipsis", "NotImplemented"),
        *("abs", "max", "min", "sum", "len", "round"),
    }
)
_NUMPY: Final = frozenset(
    {
        *("ndarray", "dtype", "bool_", "bool", "str_", "float16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    }
)
# By module, what of the standard library is data.
_DATA: Final = {
    "__builtin__": _BUILTINS,
    "builtins": _BUILTINS,
    "collections": frozenset({"OrderedDict", "defaultdict", "Counter", "deque"}),
    "argparse": frozenset({"Namespace"}),
    "types": frozenset({"SimpleNamespace"}),
    "contextlib": frozenset({"nullcontext"}),
    "datetime": frozenset({"datetime", "date", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "uuid": frozenset({"UUID"}),
    **dict.fromkeys(
        ("pathlib", "pathlib._local"),
        frozenset({"PurePath", "Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"}),
    ),
    "typing": frozenset({"Any", "Optional", "Union", "List", "Dict", "Tuple", "Sequence", "Callable"}),
    "math": frozenset({"sqrt", "exp", "log", "log2", "sin", "cos", "tanh", "floor", "ceil", "trunc", "prod"}),
    "numpy": _NUMPY,
}
# What modules of any package import, and what is then theirs by name: each calls, or is made of, what it is told.
_LENT: Final = frozenset(
    {
        *("partial", "partialmethod", "attrgetter", "itemgetter", "methodcaller", "cached_property", "singledispatch"),
        *("Popen", "FunctionType", "LambdaType", "MethodType", "CodeType", "ModuleType", "import_module", "find_spec"),
        *("GraphModule", "LazyGraphModule", "ScriptModule", "RecursiveScriptModule", "PackageImporter", "Unpickler"),
        *("starmap", "reduce", "check_call", "check_output", "getoutput", "exec", "eval", "ThreadPool", "Timer"),
        *("map", "filter", "accumulate", "groupby", "takewhile", "dropwhile", "filterfalse", "chain", "wraps"),
        *("repeat", "count", "cycle"),
        *("exec_", "eval_", "execfile", "unsafe_eval", "lambda_eval", "run_path", "run_module", "system", "popen"),
        *("run_subprocess", "run_command", "run_cmd", "load_module", "exec_module", "import_string", "locate"),
        *("urlopen", "urlretrieve", "rmtree", "unlink", "rmdir", "open", "compile", "__import__"),
    }
)


@cache
def is_held(name: Global) -> bool:
    """Whether a file may name this as a value: to import it runs nothing of which nobody knows."""
    if not _well_formed(name):
        return False
    root = name.module.partition(".")[0]
    if root == "torch":
        return is_torch_value(name)
    known = _DATA.get(name.module)
    if known is not None:
        return name.name in known
    return is_the_users(name)


def is_the_users(name: Global) -> bool:
    """A name of a package that is neither the standard library, torch nor a tool."""
    root, inner = name.module.partition(".")[0], name.name.rpartition(".")[2]
    if root == "torch" or root in STANDARD or root in TOOLS:
        return False
    return inner not in _LENT and not inner.endswith("GraphModule")


def _well_formed(name: Global) -> bool:
    """A module that can be imported, and a name in it, or a class within a class: no way through other modules."""
    *outer, inner = name.name.split(".")
    if not _MODULE.fullmatch(name.module) or not inner.isidentifier() or _DUNDER.fullmatch(inner):
        return False
    return all(_OUTER.fullmatch(part) for part in outer)
