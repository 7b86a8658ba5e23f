"""timm's activations, and what does nothing in `.eval()`: drop path and drop block."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Describe, Family
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.torch_nn.activation import identity, prelu
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def hard_mish(x: Tensor) -> Tensor:
    return 0.5 * x * (x + 2).clamp(0, 2)


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# The function, and the classes that apply it; those of `activations_me` save memory in training.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "Swish": (F.silu, ("activations.Swish", "activations_me.SwishMe", "activations_jit.SwishJit")),
    "Mish": (F.mish, ("activations.Mish", "activations_me.MishMe", "activations_jit.MishJit")),
    "Sigmoid": (torch.sigmoid, ("activations.Sigmoid",)),
    "Tanh": (torch.tanh, ("activations.Tanh",)),
    "HardSwish": (
        F.hardswish,
        ("activations.HardSwish", "activations_me.HardSwishMe", "activations_jit.HardSwishJit"),
    ),
    "HardSigmoid": (
        F.hardsigmoid,
        ("activations.HardSigmoid", "activations_me.HardSigmoidMe", "activations_jit.HardSigmoidJit"),
    ),
    "HardMish": (hard_mish, ("activations.HardMish", "activations_me.HardMishMe", "activations_jit.HardMishJit")),
    "GELU": (F.gelu, ("activations.GELU",)),
    "GELUTanh": (gelu_tanh, ("activations.GELUTanh",)),
    "QuickGELU": (quick_gelu, ("activations.QuickGELU",)),
}


def _activation(name: str, function: Callable[..., Tensor]) -> Describe:
    def describe(block: Block, x: Value, ops: Ops) -> Value:
        if block.find("inplace"):
            ops.overwrites(x)
        return ops.pointwise(name, function, x)

    return describe


FAMILIES = (
    *(
        Family(f"timm {name}", layer_paths(*paths), _activation(name, function), leaf=True)
        for name, (function, paths) in _ACTIVATIONS.items()
    ),
    Family("timm PReLU", layer_paths("activations.PReLU"), prelu, leaf=True),
    Family("timm drop in .eval()", layer_paths("drop.DropPath", "drop.DropBlock2d"), identity, leaf=True),
)
