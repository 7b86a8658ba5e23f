"""The calls that a loader may make: of names that only build values, with arguments that keep it so."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.engine.ir.module import is_module
from app.engine.ir.node import MISSING, Global, Object, Storage
from app.engine.ir.sets import OrderedFrozenSet, OrderedSet
from app.engine.ir.tensors import is_tensor
from app.engine.loading.names import is_held, is_layer

_Fits = Callable[[Object], bool]

_NUMBER_TYPE: Final = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDG]|[biufcSUmMV]\d{1,6})(\[\w+\])?")
# Methods that a code base puts in the place of a module's `forward`, as it does when it has fused itself.
_METHOD: Final = re.compile(r"_?([a-z]\w*_)?forward(_\w+)?|fuseforward|[a-z]\w*_conv(olution)?")
FUNCTIONS: Final = Global("torch._C", "_VariableFunctionsClass")
_FUNCTION: Final = re.compile(r"conv(_transpose|_tbc)?[123]?d?|linear|relu_?|sigmoid_?|tanh_?|softmax|batch_norm")
_INDUCTOR: Final = Global("torch", "_TorchCompileInductorWrapper")
_SHORT: Final = 1 << 16


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def _anything(node: Object) -> bool:
    return node.state is MISSING and not node.items and not node.pairs


def _values(node: Object) -> bool:
    """A call of plain values, tuples and lists of them."""
    parts = [part for arg in node.args for part in (arg if isinstance(arg, (tuple, list)) else (arg,))]
    return _anything(node) and all(_plain(part) or _is_bytes(part) for part in parts)


def _namespace(node: Object) -> bool:
    return not node.args and not node.items and not node.pairs and isinstance(node.state, dict)


def _collection(node: Object) -> bool:
    """An OrderedDict, Counter or deque; what they are given are containers or nothing."""
    return all(arg is None or isinstance(arg, (dict, list, tuple, int)) for arg in node.args)


def _defaultdict(node: Object) -> bool:
    """What makes its missing values is a plain type."""
    makers = {"list", "dict", "int", "float", "set", "str", "tuple", "bool", "OrderedDict"}
    fits = not node.args or (isinstance(node.args[0], Global) and node.args[0].name in makers) or node.args[0] is None
    return len(node.args) <= 1 and fits


def _members(node: Object) -> bool:
    """A set, frozenset, list, tuple or dict of what it is given."""
    kinds = (list, tuple, dict, OrderedSet, OrderedFrozenSet)
    return _anything(node) and len(node.args) <= 1 and all(isinstance(arg, kinds) for arg in node.args)


def _raw(node: Object) -> bool:
    """Bytes of bytes, or of a text in Latin-1, as Python 3 writes them for Python 2; never of a length."""
    first, *encoding = (*node.args, None)[:2] if node.args else (b"",)
    return _anything(node) and (_is_bytes(first) or (isinstance(first, str) and encoding in (["latin1"], ["latin-1"])))


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, Object) and value.origin == Global("_codecs", "encode"))


def _encode(node: Object) -> bool:
    """Any other encoding would be looked up, and its module imported."""
    return _anything(node) and len(node.args) == 2 and isinstance(node.args[0], str) and node.args[1] == "latin1"


def _reconstructor(node: Object) -> bool:
    """`(class, base, state)`: the base's own `__new__` and `__init__` are called, of which only builtins' are known."""
    bases = {"object", "list", "dict", "tuple", "int", "long", "float", "str", "unicode", "bytes", "set", "frozenset"}
    if len(node.args) != 3 or not all(isinstance(arg, Global) for arg in node.args[:2]):
        return False
    base = node.args[1]
    return base.module in ("builtins", "__builtin__") and base.name in bases and not isinstance(node.args[2], Global)


def _newobj(node: Object) -> bool:
    return bool(node.args) and isinstance(node.args[0], Global)


def _method(node: Object) -> bool:
    """A method of a module or of a class by its name, one of torch's own functions, or what torch.compile keeps."""
    if not _anything(node) or len(node.args) != 2 or not isinstance(node.args[1], str):
        return False
    target, name = node.args
    if target == FUNCTIONS:
        return bool(_FUNCTION.fullmatch(name))
    if isinstance(target, Object) and target.origin == _INDUCTOR:
        return bool(name == "get_compiler_config")
    owner = is_held(target) if isinstance(target, Global) else is_module(target)
    return owner and bool(_METHOD.fullmatch(name))


def _partial(node: Object) -> bool:
    """Of a layer of torch.nn, as models keep those that make their norms and activations."""
    if len(node.args) != 1 or not isinstance(node.args[0], Global) or not is_layer(node.args[0]):
        return False
    if node.state is MISSING:
        return True
    state = node.state
    if not isinstance(state, tuple) or len(state) != 4 or state[0] != node.args[0]:
        return False
    args, kwargs, attributes = state[1:]
    fits = isinstance(args, tuple) and isinstance(kwargs, dict) and attributes in (None, {})
    return fits and all(map(_plain, (*args, *kwargs.values())))


def _numpy_dtype(node: Object) -> bool:
    """Of numbers and texts; one of objects would take bytes for addresses."""
    kind = node.args[0] if node.args else None
    return isinstance(kind, str) and bool(_NUMBER_TYPE.fullmatch(kind)) and not node.items and not node.pairs


def _is_numpy_dtype(value: Any) -> bool:
    return isinstance(value, Object) and value.origin == Global("numpy", "dtype") and _numpy_dtype(value)


def _numpy_scalar(node: Object) -> bool:
    return _anything(node) and len(node.args) == 2 and _is_numpy_dtype(node.args[0]) and _is_bytes(node.args[1])


def _numpy_array(node: Object) -> bool:
    """An empty array, and in its state version, shape, dtype, order and bytes."""
    if not node.args or node.args[0] != Global("numpy", "ndarray") or node.items or node.pairs:
        return False
    state = node.state
    whole = isinstance(state, tuple) and len(state) == 5 and _is_numpy_dtype(state[2]) and _is_bytes(state[4])
    return state is MISSING or whole


def _logger(node: Object) -> bool:
    return _values(node) and len(node.args) == 1 and isinstance(node.args[0], str)


def _tensor(node: Object) -> bool:
    """Geometry and storage were looked at when the call was read."""
    return _anything(node) and (is_tensor(node) or all(_plain(a) or isinstance(a, (Storage, tuple)) for a in node.args))


def _compiled(node: Object) -> bool:
    return not node.items and not node.pairs


def _names(*paths: str) -> tuple[Global, ...]:
    return tuple(Global(*path.rsplit(".", 1)) for path in paths)


CALLS: Final[Mapping[Global, _Fits]] = {
    **dict.fromkeys(
        _names("collections.OrderedDict", "collections.Counter", "collections.deque"),
        _collection,
    ),
    Global("collections", "defaultdict"): _defaultdict,
    **dict.fromkeys(
        (Global(m, n) for m in ("builtins", "__builtin__") for n in ("set", "frozenset", "list", "tuple", "dict")),
        _members,
    ),
    **dict.fromkeys((Global(m, n) for m in ("builtins", "__builtin__") for n in ("bytes", "bytearray")), _raw),
    **dict.fromkeys(
        (
            Global(m, n)
            for m in ("builtins", "__builtin__")
            for n in ("object", "complex", "slice", "range", "xrange", "int", "float", "bool")
        ),
        _values,
    ),
    **dict.fromkeys((Global(m, "getattr") for m in ("builtins", "__builtin__")), _method),
    Global("_codecs", "encode"): _encode,
    **dict.fromkeys(_names("copyreg._reconstructor", "copy_reg._reconstructor"), _reconstructor),
    **dict.fromkeys(
        _names("copyreg.__newobj__", "copyreg.__newobj_ex__", "copy_reg.__newobj__", "copy_reg.__newobj_ex__"),
        _newobj,
    ),
    **dict.fromkeys(
        _names(
            *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "decimal.Decimal"),
            *("fractions.Fraction", "torch.device", "torch.serialization._get_layout", "timm.layers.format.Format"),
            *(f"{m}.{n}" for m in ("pathlib", "pathlib._local") for n in ("PosixPath", "WindowsPath")),
            *(f"{m}.{n}" for m in ("pathlib", "pathlib._local") for n in ("PurePosixPath", "PureWindowsPath")),
            *("torch.Size", "torchvision.transforms.functional.InterpolationMode"),
        ),
        _values,
    ),
    Global("types", "SimpleNamespace"): _namespace,
    Global("logging", "getLogger"): _logger,
    Global("functools", "partial"): _partial,
    Global("numpy", "dtype"): _numpy_dtype,
    **dict.fromkeys(_names("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _numpy_scalar),
    **dict.fromkeys(_names("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _numpy_array),
    **dict.fromkeys(
        _names(
            *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"),
            *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
            "torch._tensor._rebuild_from_type_v2",
        ),
        _tensor,
    ),
    **dict.fromkeys(
        _names("torch._dynamo.eval_frame.OptimizedModule", "torch._dynamo.eval_frame.OptimizeContext"), _compiled
    ),
}


def may_be_called(node: Object) -> bool:
    """Whether this call builds a value and nothing else."""
    fits = CALLS.get(node.origin) if isinstance(node.origin, Global) else None
    return fits is not None and node.kwargs is None and fits(node)


def instantiated(node: Object) -> Global | None:
    """The class of which the object is made without a call of its own; None where it is called."""
    if node.how != "reduce":
        return node.origin if isinstance(node.origin, Global) else None
    makes = ("_reconstructor", "__newobj__", "__newobj_ex__")
    named = isinstance(node.origin, Global) and node.origin.name in makes and may_be_called(node)
    return node.args[0] if named else None
