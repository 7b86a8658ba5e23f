"""LoRA layers of Hugging Face's `peft`: a base layer, and pairs of thin layers of which some are active."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Slot
from app.engine.forward.lora.layer import become
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow, expression, literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, mapping

_BASES = {
    "Linear": "torch.nn.modules.linear.Linear",
    **{f"Conv{dims}d": f"torch.nn.modules.conv.Conv{dims}d" for dims in (1, 2, 3)},
}
_SLOT = "base_layer"
_DICT = "torch.nn.modules.container.ModuleDict"


def lora_layer(block: Block, x: Value, ops: Ops) -> Any:
    """base(x) + the sum over active adapters of scaling * B(A(x)); merged or disabled, base(x)."""
    if block.module.attribute("_disable_adapters") or block.module.attribute("merged_adapters"):
        return block.base_layer(x)
    names = list(_active(block.module))
    if any(_varies(block.module, name) for name in names):
        return _dora(block, x, names, ops)
    total = block.base_layer(x)
    for name in names:
        total = ops.add(total, _scaled(block, name, x, ops))
    return total


def _scaled(block: Block, name: str, x: Value, ops: Ops) -> Value:
    """scaling * B(A(x)); the dropout before A does nothing in inference."""
    y = getattr(block.lora_B, name)(getattr(block.lora_A, name)(x))
    return ops.scale(y, literal(torch.tensor(float(block.scaling[name]), dtype=torch.float64)))


def _dora(block: Block, x: Value, names: list[str], ops: Ops) -> Value:
    """m * (W x + scaling * B A x) / |W + scaling * B A| + bias, the norm per row; arXiv 2402.09353, equation 5."""
    base = block.base_layer
    if len(names) != 1 or not base.module.class_path.endswith(".Linear") or not _plain_dora(block.module, names[0]):
        raise UnknownFlow(block.module.path, "lora-variant", "the variant of LoRA that it uses is not described")
    name = names[0]
    first, second = getattr(block.lora_A, name), getattr(block.lora_B, name)
    factor = expression(
        partial(_row_factors, float(block.scaling[name])),
        getattr(block.lora_magnitude_vector, name).weight,
        *(base.weight, first.weight, second.weight),
    )
    y = ops.add(ops.call_as(base, _without_bias, x), _scaled(block, name, x, ops))
    y = ops.scale(y, factor, axis=-1)
    return y if base.find("bias") is None else ops.shift(y, base.bias, axis=-1)


def _without_bias(base: Block, x: Value, ops: Ops) -> Value:
    return ops.linear(x, base.weight)


def _row_factors(scaling: float, magnitude: Tensor, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    rows: Tensor = torch.linalg.vector_norm(weight + scaling * second @ first, dim=1)
    return magnitude.flatten() / rows


def _active(module: Module) -> Iterator[str]:
    """The active adapters that this layer has, in order."""
    asked, thin = module.attribute("_active_adapter", None), module.child("lora_A")
    names = [asked] if isinstance(asked, str) else asked
    return (name for name in names if thin is not None and thin.child(name) is not None)


def _varies(module: Module, name: str) -> bool:
    """Whether the adapter is not plain LoRA: older files say so of DoRA only, newer ones name an object."""
    return name in (mapping(module.attribute("lora_variant", {})) or {}) or _says_dora(module, name)


def _says_dora(module: Module, name: str) -> bool:
    return bool((mapping(module.attribute("use_dora", {})) or {}).get(name))


def _plain_dora(module: Module, name: str) -> bool:
    magnitudes = module.child("lora_magnitude_vector")
    vector = magnitudes.child(name) if magnitudes is not None else None
    second = module.child("lora_B")
    thin = second.child(name) if second is not None else None
    known = vector is not None and vector.class_path == "peft.tuners.lora.dora.DoraLinearLayer"
    return known and _says_dora(module, name) and thin is not None and thin.tensor("bias") is None


def _fits(module: Module) -> bool:
    base, first, second = (module.child(name) for name in (_SLOT, "lora_A", "lora_B"))
    name = module.class_path.rpartition(".")[2]
    if base is None or first is None or second is None or base.class_path != _BASES[name]:
        return False
    scaling, asked = mapping(module.attribute("scaling", None)), module.attribute("_active_adapter", None)
    listed = isinstance(asked, str) or (isinstance(asked, list) and all(isinstance(part, str) for part in asked))
    thin = first.class_path == second.class_path == _DICT
    if scaling is None or not listed or not thin or module.attribute("fan_in_fan_out", False):
        return False
    names = list(_active(module))
    merged = isinstance(module.attribute("merged_adapters", None), list)
    counted = all(type(scaling.get(part)) in (int, float) for part in names)
    return merged and counted and has_children(second, *names) and not _unmerges(module)


def _unmerges(module: Module) -> bool:
    """A layer that is merged and disabled takes its weights apart again when it is called."""
    return bool(module.attribute("_disable_adapters", False)) and bool(module.attribute("merged_adapters", None))


def _slots(module: Module) -> tuple[Slot, ...]:
    return (Slot(_SLOT, (_SLOT, "lora_A", "lora_B", "lora_magnitude_vector")),)


def _write(module: Module, layers: Mapping[str, Any]) -> None:
    """As `merge_and_unload` leaves it: the base layer in the wrapper's place."""
    base, second = module.child(_SLOT), module.child("lora_B")
    assert base is not None
    thin = list(second.walk()) if second is not None else []
    biased = any(part.tensor("bias") is not None for part in (base, *thin))
    become(module, layers[_SLOT], biased=biased)


FAMILIES = tuple(
    Family(
        f"peft LoRA {name}",
        (f"peft.tuners.lora.layer.{name}",),
        lora_layer,
        _fits,
        defaults={"_disable_adapters": False},
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        idle=("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "conv_fn"),
    )
    for name in _BASES
)
