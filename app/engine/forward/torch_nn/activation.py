"""torch.nn activations, and the layers that do nothing in `.eval()`."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.torch_nn.arguments import number_fits
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

# torch's class: its function, and the attributes that are the function's arguments, with their defaults.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "SiLU": (F.silu, {}),
    "ReLU": (F.relu, {}),
    "ReLU6": (F.relu6, {}),
    "LeakyReLU": (F.leaky_relu, {"negative_slope": 0.01}),
    "GELU": (F.gelu, {"approximate": "none"}),
    "Hardswish": (F.hardswish, {}),
    "Hardsigmoid": (F.hardsigmoid, {}),
    "Hardtanh": (F.hardtanh, {"min_val": -1.0, "max_val": 1.0}),
    "Sigmoid": (torch.sigmoid, {}),
    "LogSigmoid": (F.logsigmoid, {}),
    "Tanh": (torch.tanh, {}),
    "Mish": (F.mish, {}),
    "ELU": (F.elu, {"alpha": 1.0}),
    "CELU": (F.celu, {"alpha": 1.0}),
    "SELU": (F.selu, {}),
    "Softplus": (F.softplus, {"beta": 1.0, "threshold": 20.0}),
    "Softsign": (F.softsign, {}),
}


def _activation(name: str) -> Describe:
    function, arguments = _ACTIVATIONS[name]

    def describe(block: Block, x: Value, ops: Ops) -> Value:
        if block.find("inplace"):
            ops.overwrites(x)
        return ops.pointwise(name, function, x, **{key: getattr(block, key) for key in arguments})

    return describe


def _arguments_fit(name: str) -> Callable[[Module], bool]:
    _, arguments = _ACTIVATIONS[name]
    numbers = {key: default for key, default in arguments.items() if isinstance(default, float)}

    def fits(module: Module) -> bool:
        known = "approximate" not in arguments or module.attribute("approximate", "none") in ("none", "tanh")
        return known and all(number_fits(module, key, default) for key, default in numbers.items())

    return fits


def prelu(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("PReLU", F.prelu, x, block.weight)


def softmax(block: Block, x: Value, ops: Ops) -> Value:
    dim = block.dim
    if dim is None:  # the choice that torch makes, with a warning
        dim = 0 if len(x.shape) in (0, 1, 3) else 1
    return ops.apply("Softmax", torch.softmax, x, dim)


def identity(block: Block, x: Any, ops: Ops) -> Any:
    """torch.nn.Identity, and every Dropout in `.eval()`."""
    return x


FAMILIES = (
    *(
        Family(
            f"torch.nn {name}",
            (f"torch.nn.modules.activation.{name}",),
            _activation(name),
            fits=_arguments_fit(name),
            defaults={**arguments, "inplace": False},
            leaf=True,
        )
        for name, (_, arguments) in _ACTIVATIONS.items()
    ),
    Family("torch.nn PReLU", ("torch.nn.modules.activation.PReLU",), prelu, leaf=True),
    Family("torch.nn Softmax", ("torch.nn.modules.activation.Softmax",), softmax, defaults={"dim": None}, leaf=True),
    Family("torch.nn Identity", ("torch.nn.modules.linear.Identity",), identity, leaf=True),
    Family(
        "torch.nn Dropout",
        tuple(
            f"torch.nn.modules.dropout.{name}"
            for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
        ),
        identity,
        leaf=True,
    ),
)
