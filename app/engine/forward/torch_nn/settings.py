"""Settings of torch's own layers with which torch itself could not run them."""

import math
from collections.abc import Iterator
from typing import Any, Final

from app.engine.ir.module import Module
from app.errors import UnsupportedContent

_CONVOLUTIONS: Final = frozenset(
    f"torch.nn.modules.conv.Conv{kind}{dims}d" for kind in ("", "Transpose") for dims in (1, 2, 3)
)
_NORMS: Final = frozenset(
    {f"torch.nn.modules.batchnorm.{name}" for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")}
    | {f"torch.nn.modules.instancenorm.InstanceNorm{dims}d" for dims in (1, 2, 3)}
    | {f"torch.nn.modules.normalization.{name}" for name in ("GroupNorm", "LayerNorm")}
)
_MODES: Final = ("zeros", "reflect", "replicate", "circular")
_NAMED_PADDINGS: Final = ("same", "valid")
_LARGEST: Final = (1 << 31) - 1
# The least value of each setting that counts taps.
_SIZES: Final = {"stride": 1, "dilation": 1, "padding": 0, "output_padding": 0}


def check_settings(root: Module) -> None:
    """Raises UnsupportedContent for a convolution or norm of torch that torch can't run: no groups, a negative eps.

    A setting that is an object of some other library is left to the description of its layer.
    """
    for module in root.walk():
        if module.class_path in _CONVOLUTIONS:
            faults = _of_convolution(module)
        elif module.class_path in _NORMS:
            faults = _of_norm(module)
        else:
            continue
        for name, needed in faults:
            raise UnsupportedContent(
                f"{module.at(name)} is {_shown(module.attribute(name))}, and {needed}",
                remedy="torch can't run such a layer: mend it, and save the model again.",
                layer=module.path,
            )


def _of_convolution(module: Module) -> Iterator[tuple[str, str]]:
    if not _counts(module.attribute("groups", 1), least=1):
        yield "groups", "groups are a whole number from 1 on"
    for name, least in _SIZES.items():
        value = module.attribute(name, least)
        if name == "padding" and isinstance(value, str) and value in _NAMED_PADDINGS:
            continue
        if not all(_counts(size, least) for size in (value if isinstance(value, (tuple, list)) else (value,))):
            yield name, f"its sizes are whole numbers from {least} to {_LARGEST:,}"
    mode = module.attribute("padding_mode", "zeros")
    if isinstance(mode, str) and mode not in _MODES:
        yield "padding_mode", f"it is one of {', '.join(_MODES)}"


def _of_norm(module: Module) -> Iterator[tuple[str, str]]:
    eps = module.attribute("eps", 0.0)
    if isinstance(eps, str) or (type(eps) in (int, float) and not (math.isfinite(eps) and eps >= 0)):
        yield "eps", "eps is a finite number that is not negative"


def _counts(value: Any, least: int) -> bool:
    if isinstance(value, (float, str)):
        return False
    return type(value) is not int or least <= value <= _LARGEST


def _shown(value: Any) -> str:
    """A number or text; hostile ones have a million digits."""
    if type(value) is int and abs(value) > _LARGEST:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_shown(part) for part in value[:5])})"
    return (
        repr(value[:40]) if isinstance(value, str) else str(value)[:40] if type(value) in (int, float) else "no number"
    )
