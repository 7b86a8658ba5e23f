"""Names that a file may hold, or build instances of without a call: values, torch's layers, classes of the user.

A loader imports whatever a file names. Of the standard library, and of torch, only what is listed here is held to be
data; a name of any other package is the user's own code, which may be instantiated and held, but not called.
"""

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from functools import cache
from typing import Final

from app.engine.ir.node import Global
from app.engine.ir.tensors import named_dtype, storage_dtype

_MODULE: Final = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*")
_OUTER: Final = re.compile(r"_*[A-Z]\w*")  # of `Outer.Inner`: a class, and no module that a module imports
_DUNDER: Final = re.compile(r"__\w+__")

# Python 2's names too: a loader translates them (`__builtin__`, `commands`, `urllib2`); and what was removed since.
STANDARD: Final = frozenset(
    {
        *sys.stdlib_module_names,
        *(name.partition(".")[0] for name in IMPORT_MAPPING),
        *(module.partition(".")[0] for module, _ in NAME_MAPPING),
        *("asynchat", "asyncore", "cgi", "cgitb", "commands", "crypt", "distutils", "imp", "lib2to3", "mailcap"),
        *("new", "nntplib", "nt", "os2", "pipes", "popen2", "posix", "rexec", "smtpd", "sre", "telnetlib", "test"),
        *("compiler", "user", "imputil", "ihooks", "bastion", "sndhdr", "uu", "xdrlib", "msilib", "_winapi", "msvcrt"),
    }
)
# Packages of tools: what they are imported for is running, loading or fetching something.
_TOOLS: Final = frozenset(
    {
        *("pip", "setuptools", "pkg_resources", "wheel", "virtualenv", "_distutils_hack", "pytest", "_pytest", "nose"),
        *("IPython", "ipykernel", "jupyter_client", "jupyter_core", "notebook", "dill", "cloudpickle", "joblib"),
        *("jsonpickle", "yaml", "ruamel", "numexpr", "sympy", "jinja2", "mako", "cffi", "pycparser", "pexpect"),
        *("ptyprocess", "sh", "plumbum", "invoke", "fabric", "paramiko", "asyncssh", "psutil", "docker", "git"),
        *("requests", "urllib3", "httpx", "aiohttp", "httplib2", "tornado", "twisted", "werkzeug", "flask", "django"),
        *("boto3", "botocore", "celery", "ray", "dask", "distributed", "pandas", "numba", "llvmlite", "triton"),
        *("win32api", "win32com", "win32process", "pythoncom", "site", "sitecustomize", "usercustomize", "numpy"),
    }
)
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
_TORCH_VALUES: Final = frozenset(
    {
        *("Tensor", "Size", "device", "dtype", "strided", "contiguous_format", "channels_last", "channels_last_3d"),
        *("preserve_format", "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "softmax", "log_softmax", "exp"),
        *("add", "mul", "cat", "concat", "sum", "mean", "sqrt", "abs", "clamp", "celu", "selu", "erf", "sin", "cos"),
        *("_TorchCompileWrapper", "_TorchCompileInductorWrapper"),
    }
)
# Below these, classes are layers and their like, and functions compute.
_LAYERS: Final = (
    *("torch.nn.", "torch.ao.nn.", "torch.ao.quantization.", "torch.quantization.", "torch.optim."),
    *("torch.distributions.", "torch.amp.", "torch.cuda.amp.", "torch._C._nn."),
)
# What torch.compile puts around a model; what it is told to do is looked at as well (see `calls`).
COMPILED: Final = frozenset(
    {
        *("torch._dynamo.eval_frame.OptimizedModule", "torch._dynamo.eval_frame.OptimizeContext"),
        *("torch._dynamo.convert_frame.CatchErrorsWrapper", "torch._dynamo.convert_frame.ConvertFrame"),
        *("torch._dynamo.convert_frame.ConvertFrameAssert", "torch._dynamo.convert_frame.ConvertFrameBox"),
        *("torch._dynamo.hooks.Hooks", "torch._dynamo.repro.after_dynamo.WrapBackendDebug"),
        *("torch._dynamo.backends.debugging.eager", "torch._dynamo.backends.debugging.aot_eager"),
    }
)


@cache
def is_held(name: Global) -> bool:
    """Whether a file may name this as a value: importing it runs nothing of which nobody knows, and it is not called.

    The same names may be classes of objects that are made without a call (NEWOBJ).
    """
    if not _well_formed(name):
        return False
    root = name.module.partition(".")[0]
    if root == "torch":
        return _of_torch(name)
    known = _DATA.get(name.module)
    if known is not None:
        return name.name in known
    return root not in STANDARD and root not in _TOOLS


def _of_torch(name: Global) -> bool:
    if name.module == "torch" and (name.name in _TORCH_VALUES or named_dtype(name.name) is not None):
        return True
    if storage_dtype(name) is not None or name.path in COMPILED:
        return True
    inner = (f"{name.module}.").startswith(_LAYERS) and "." not in name.name
    return inner or name.path in ("torch.storage.TypedStorage", "torch._tensor.Tensor", "torch.nn.Module")


def is_layer(name: Global) -> bool:
    """A class of torch.nn."""
    return name.module.startswith("torch.nn.modules.") and bool(_OUTER.fullmatch(name.name))


def _well_formed(name: Global) -> bool:
    """A module that can be imported, and a name in it, or a class within a class: no way through other modules."""
    *outer, inner = name.name.split(".")
    if not _MODULE.fullmatch(name.module) or not inner.isidentifier() or _DUNDER.fullmatch(inner):
        return False
    return all(_OUTER.fullmatch(part) for part in outer)
