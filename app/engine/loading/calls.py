"""The calls that a loader may make: of names that only build values, with arguments that keep it so."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.engine.ir.module import is_module
from app.engine.ir.node import MISSING, Global, Object, Storage
from app.engine.ir.sets import OrderedFrozenSet, OrderedSet
from app.engine.ir.tensors import is_tensor
from app.engine.loading.arrays import fits_array, fits_dtype, fits_scalar, is_bytes
from app.engine.loading.instances import MOST_PARTS
from app.engine.loading.names import is_held
from app.engine.loading.states import CONTEXT, OPTIMIZED, is_context
from app.engine.loading.torch_names import is_layer

_Fits = Callable[[Object], bool]

# Methods that a code base puts in the place of a module's `forward`, as it does when it has fused itself.
_METHOD: Final = re.compile(r"_?([a-z]\w*_)?forward(_\w+)?|fuseforward|[a-z]\w*_conv(olution)?")
FUNCTIONS: Final = Global("torch._C", "_VariableFunctionsClass")
_FUNCTION: Final = re.compile(r"conv(_transpose|_tbc)?[123]?d?|linear|relu_?|sigmoid_?|tanh_?|softmax|batch_norm")
_INDUCTOR: Final = Global("torch", "_TorchCompileInductorWrapper")
_SHORT: Final = 4096
_FRACTION: Final = re.compile(r"-?\d{1,4000}(/\d{1,4000})?")
_MAKERS: Final = frozenset(
    Global(module, name)
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "int", "float", "set", "str", "tuple", "bool")
) | {
    Global("collections", "OrderedDict"),
    Global("torch.amp.grad_scaler", "_refresh_per_optimizer_state"),
    Global("torch.cuda.amp.grad_scaler", "_refresh_per_optimizer_state"),
}
_LONGEST_RANGE: Final = 1 << 20


_BASES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": type(None),
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), (list, tuple, OrderedSet, OrderedFrozenSet)),
    "dict": dict,
    **dict.fromkeys(("int", "long", "float", "str", "unicode"), (int, float, str)),
    "bytes": bytes,
}


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def _anything(node: Object) -> bool:
    return node.state is MISSING and not node.items and not node.pairs


def _values(node: Object) -> bool:
    """A call of plain values, tuples and lists of them. To read a number from a long text takes its square."""
    lengths = (len(arg) for arg in node.args if isinstance(arg, (tuple, list)))
    if len(node.args) > MOST_PARTS or any(length > MOST_PARTS for length in lengths):
        return False
    parts = [part for arg in node.args for part in (arg if isinstance(arg, (tuple, list)) else (arg,))]
    return _anything(node) and all((_plain(part) and not _is_long(part)) or is_bytes(part) for part in parts)


def _is_long(value: Any) -> bool:
    return isinstance(value, (str, bytes)) and len(value) > _SHORT


def _range(node: Object) -> bool:
    """Not one that nobody could hold, where something goes through all of it."""
    return _values(node) and all(type(arg) is int and abs(arg) <= _LONGEST_RANGE for arg in node.args)


def _fraction(node: Object) -> bool:
    """As it writes itself; of "1e999999999" it would write out all digits."""
    text = node.args[0] if len(node.args) == 1 else None
    numbers = len(node.args) == 2 and all(type(arg) is int for arg in node.args)
    return _anything(node) and (numbers or (isinstance(text, str) and bool(_FRACTION.fullmatch(text))))


def _namespace(node: Object) -> bool:
    return not node.args and not node.items and not node.pairs and isinstance(node.state, dict)


def _collection(node: Object) -> bool:
    """An OrderedDict, Counter or deque; what they are given are containers or nothing."""
    fits = len(node.args) <= 2 and (node.state is MISSING or isinstance(node.state, dict))
    return fits and all(arg is None or isinstance(arg, (dict, list, tuple, int)) for arg in node.args)


def _defaultdict(node: Object) -> bool:
    """What makes its missing values is a plain type."""
    maker = node.args[0] if node.args else None
    return (
        len(node.args) <= 1
        and node.state is MISSING
        and (maker is None or (isinstance(maker, Global) and maker in _MAKERS))
    )


def _members(node: Object) -> bool:
    """A set, frozenset, list, tuple or dict of what it is given."""
    kinds = (list, tuple, dict, OrderedSet, OrderedFrozenSet)
    return _anything(node) and len(node.args) <= 1 and all(isinstance(arg, kinds) for arg in node.args)


def _raw(node: Object) -> bool:
    """Bytes of bytes, or of a text in Latin-1, as Python 3 writes them for Python 2; never of a length."""
    first, *encoding = (*node.args, None)[:2] if node.args else (b"",)
    return _anything(node) and (is_bytes(first) or (isinstance(first, str) and encoding in (["latin1"], ["latin-1"])))


def _encode(node: Object) -> bool:
    """Any other encoding would be looked up, and its module imported."""
    return _anything(node) and len(node.args) == 2 and isinstance(node.args[0], str) and node.args[1] == "latin1"


def _reconstructor(node: Object) -> bool:
    """`(class, base, state)`: the base's own `__new__` and `__init__` are called, of which only builtins' are known.

    They iterate over the state, or take its text: it is a value of their own kind, whose class is not the file's.
    """
    if len(node.args) != 3 or not all(isinstance(arg, Global) for arg in node.args[:2]):
        return False
    base, state = node.args[1:]
    kinds = _BASES.get(base.name) if base.module in ("builtins", "__builtin__") else None
    return kinds is not None and (isinstance(state, kinds) or (base.name == "bytes" and is_bytes(state)))


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
    return fits and len(args) + len(kwargs) <= MOST_PARTS and all(map(_plain, (*args, *kwargs.values())))


def _logger(node: Object) -> bool:
    return _values(node) and len(node.args) == 1 and isinstance(node.args[0], str)


def _tensor(node: Object) -> bool:
    """Geometry and storage were looked at when the call was read."""
    return _anything(node) and (is_tensor(node) or all(_plain(a) or isinstance(a, (Storage, tuple)) for a in node.args))


def _compiled_module(node: Object) -> bool:
    """A module and its compiler's context, which is called with the module while the file is loaded."""
    if len(node.args) != 2 or node.items or node.pairs or node.state is not MISSING:
        return False
    inner, context = node.args
    whole = is_module(inner) or (isinstance(inner, Object) and inner.origin == OPTIMIZED)
    return whole and is_context(context)


def _context(node: Object) -> bool:
    """What the compiler does is looked at in `states`; what it runs before is nothing."""
    nothing = (None, Global("contextlib", "nullcontext"), Global("torch._dynamo.eval_frame", "null_context"))
    return not node.items and not node.pairs and (len(node.args) < 2 or node.args[1] in nothing)


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
            for n in ("object", "complex", "slice", "int", "float", "bool")
        ),
        _values,
    ),
    **dict.fromkeys(_names("builtins.range", "builtins.xrange", "__builtin__.range", "__builtin__.xrange"), _range),
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
            *("torch.device", "torch.serialization._get_layout", "timm.layers.format.Format"),
            *(f"{m}.{n}" for m in ("pathlib", "pathlib._local") for n in ("PosixPath", "WindowsPath")),
            *(f"{m}.{n}" for m in ("pathlib", "pathlib._local") for n in ("PurePosixPath", "PureWindowsPath")),
            *("torch.Size", "torchvision.transforms.functional.InterpolationMode"),
        ),
        _values,
    ),
    Global("fractions", "Fraction"): _fraction,
    Global("types", "SimpleNamespace"): _namespace,
    Global("logging", "getLogger"): _logger,
    Global("functools", "partial"): _partial,
    Global("numpy", "dtype"): fits_dtype,
    **dict.fromkeys(_names("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), fits_scalar),
    **dict.fromkeys(_names("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), fits_array),
    **dict.fromkeys(
        _names(
            *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"),
            *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
            "torch._tensor._rebuild_from_type_v2",
        ),
        _tensor,
    ),
    OPTIMIZED: _compiled_module,
    CONTEXT: _context,
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
