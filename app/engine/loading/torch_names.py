"""Which names of torch are values, layers and their like. What its modules only import from elsewhere is not theirs.

A module lends its name to all that it imports: `torch.nn.attention.flex_attention.Enum` is Python's, and
`torch.ao.quantization.fx.convert.GraphModule` is a class whose instances are made of source text.
"""

import re
from typing import Final

from app.engine.ir.node import Global
from app.engine.ir.tensors import named_dtype, storage_dtype

_VALUES: Final = frozenset(
    {
        *("Tensor", "Size", "device", "dtype", "strided", "contiguous_format", "channels_last", "channels_last_3d"),
        *("preserve_format", "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "softmax", "log_softmax", "exp"),
        *("add", "mul", "cat", "concat", "sum", "mean", "sqrt", "abs", "clamp", "celu", "selu", "erf", "sin", "cos"),
        *(f"per_{of}_{kind}" for of in ("tensor", "channel") for kind in ("affine", "symmetric")),
    }
)
# Below these, classes are layers and their like.
_CLASSES: Final = (
    *("torch.nn.", "torch.ao.nn.", "torch.ao.quantization.", "torch.quantization.", "torch.optim."),
    *("torch.distributions.", "torch.amp.", "torch.cuda.amp."),
)
# Among them, what makes graphs and source text, registers operators, or holds tools for them.
_TOOLS: Final = tuple(
    f"torch.{path}."
    for path in (
        *(
            "nn.attention",
            "nn.utils._expanded_weights",
            "quantization._numeric_suite",
            "quantization._numeric_suite_fx",
        ),
        *(
            f"{outer}.{inner}"
            for outer in ("ao.quantization", "quantization")
            for inner in ("fx", "pt2e", "quantize_fx", "quantize_pt2e", "quantize_jit", "quantizer", "backend_config")
        ),
    )
)
_CLASS: Final = re.compile(r"_*[A-Z]\w*")
_SMALL_CLASSES: Final = frozenset({"autocast"})
_FUNCTIONS: Final = ("torch.nn.functional.", "torch.nn.init.", "torch._C._nn.", "torch.ao.nn.quantized.functional.")
_FUNCTION: Final = re.compile(r"[a-z]\w*")
# What the modules above import: from Python, and from parts of torch that do more than compute.
_IMPORTED: Final = frozenset(
    {
        *("ABC", "ABCMeta", "OrderedDict", "Counter", "Enum", "IntEnum", "Number", "Real", "ThreadPool", "Path"),
        *("GraphModule", "Graph", "Node", "Proxy", "Tracer", "Scope", "Library", "FakeTensor", "ScriptModule"),
        *("Function", "Variable", "Join", "JoinHook", "Joinable", "ReduceOp", "RRef", "ExceptionWrapper", "TreeSpec"),
        *("GetAttrKey", "BackwardHook", "OpaqueBase", "Logger", "OutputLogger", "ShadowLogger", "NSTracer", "F"),
        *("Any", "Callable", "ClassVar", "Generic", "Literal", "NamedTuple", "Optional", "ParamSpec", "Protocol"),
        *("TypeVar", "TypeAliasType", "TypeVarTuple", "TypedDict", "Union", "Self", "Annotated", "SupportsFloat"),
        *(
            "torch",
            "math",
            "warnings",
            "np",
            "numpy",
            "importlib",
            "functools",
            "operator",
            "types",
            "copy",
            "sys",
            "os",
        ),
        *("boolean_dispatch", "handle_torch_function", "has_torch_function", "has_torch_function_unary", "grad"),
        *("has_torch_function_variadic", "deprecated", "assert_int_or_pair", "wraps", "partial", "reduce"),
    }
)
# Not to be instantiated without a call, where memory or a geometry would be what the arguments and the state say.
_TENSORS: Final = frozenset({"Tensor", "Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "Size"})
_WRAPPERS: Final = frozenset({"torch._TorchCompileWrapper", "torch._TorchCompileInductorWrapper"})
# What torch.compile puts around a model; what it is told to do is looked at as well (see `states`).
_COMPILED: Final = frozenset(
    {
        *("torch._dynamo.eval_frame.OptimizedModule", "torch._dynamo.eval_frame.OptimizeContext"),
        *("torch._dynamo.convert_frame.CatchErrorsWrapper", "torch._dynamo.convert_frame.ConvertFrame"),
        *("torch._dynamo.convert_frame.ConvertFrameAssert", "torch._dynamo.convert_frame.ConvertFrameBox"),
        *("torch._dynamo.hooks.Hooks", "torch._dynamo.repro.after_dynamo.WrapBackendDebug"),
    }
)
_OTHERS: Final = frozenset(
    {
        *("torch._dynamo.backends.debugging.eager", "torch._dynamo.backends.debugging.aot_eager"),
        *("torch._tensor.Tensor", "torch.storage.TypedStorage"),
        *(f"torch{inner}.amp.grad_scaler._refresh_per_optimizer_state" for inner in ("", ".cuda")),
    }
)


def is_torch_value(name: Global) -> bool:
    """Whether a name of torch may be held: a dtype, a function that computes, a class of layers."""
    if name.module == "torch" and (name.name in _VALUES or named_dtype(name.name) is not None):
        return True
    if storage_dtype(name) is not None or name.path in _OTHERS:
        return True
    return is_torch_class(name) or _is_function(name) or (name.name in _TENSORS and _lies_in_layers(name))


def is_torch_class(name: Global) -> bool:
    """Whether a name of torch may be a class of which an object is made without a call."""
    if name.path in _COMPILED or name.path in _WRAPPERS:
        return True
    fits = bool(_CLASS.fullmatch(name.name)) or name.name in _SMALL_CLASSES
    return fits and name.name not in _IMPORTED | _TENSORS and _lies_in_layers(name)


def is_layer(name: Global) -> bool:
    """A class of torch.nn."""
    return name.module.startswith("torch.nn.modules.") and is_torch_class(name)


def _lies_in_layers(name: Global) -> bool:
    where = f"{name.module}."
    return where.startswith(_CLASSES) and not where.startswith(_TOOLS)


def _is_function(name: Global) -> bool:
    known = f"{name.module}.".startswith(_FUNCTIONS) or name.module == "torch.nn.quantized.functional"
    return known and bool(_FUNCTION.fullmatch(name.name)) and name.name not in _IMPORTED
