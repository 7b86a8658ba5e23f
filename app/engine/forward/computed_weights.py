"""Weights that torch computes before each call: weight norm and spectral norm, as `torch.nn.utils` has them.

Only these exact classes on plain layers are seen through: the hooks, and the parametrizations of newer code. torch
pickles no module with the latter: such a tree is made from the names of a state dict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.engine.ir.module import Module, class_of, mapping, ordered_dict
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import StoredTensor

_LAYERS = ("torch.nn.modules.conv.", "torch.nn.modules.linear.Linear")
_WEIGHT_NORM = Global("torch.nn.utils.weight_norm", "WeightNorm")
_SPECTRAL_NORM = Global("torch.nn.utils.spectral_norm", "SpectralNorm")
_TABLES = ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")
_PARAMETRIZATIONS = "parametrizations"
_ONLY = f"{_PARAMETRIZATIONS}.weight"
_NORM_CLASSES = {
    "torch.nn.utils.parametrizations._WeightNorm": (f"{_ONLY}.original1", f"{_ONLY}.original0"),
    "torch.nn.utils.parametrizations._SpectralNorm": (f"{_ONLY}.original", f"{_ONLY}.0._u", f"{_ONLY}.0._v"),
}
_OWN_MODULES = (_WEIGHT_NORM.module, _SPECTRAL_NORM.module)


@dataclass(frozen=True, slots=True)
class Computed:
    """A parameter that is computed from others before each call."""

    name: str  # "weight"
    parts: tuple[str, ...]  # "weight_v", "weight_g": names below the layer, the first of the weight's own shape
    compute: Callable[..., Tensor]


def computed_weights(module: Module) -> Mapping[str, Computed] | None:
    """What the layer's hooks or parametrization compute, by name; None if anything is of another kind."""
    if not module.class_path.startswith(_LAYERS):
        return None
    hooks = mapping(module.state.get("_forward_pre_hooks")) or {}
    if module.parametrized:
        made = None if module.hooks else _parametrized(module)
        return None if made is None else {made.name: made}
    if not hooks or any(name != "_forward_pre_hooks" for name in module.hooks):
        return None
    found = [_computed(module, hook) for hook in hooks.values()]
    computed = {made.name: made for made in found if made is not None}
    return computed if len(computed) == len(hooks) else None


def _computed(module: Module, hook: Any) -> Computed | None:
    kind = class_of(hook)
    if kind not in (_WEIGHT_NORM, _SPECTRAL_NORM) or not isinstance(hook.state, dict):
        return None
    name, dim = hook.state.get("name"), hook.state.get("dim")
    if not isinstance(name, str):
        return None
    weight_norm = kind == _WEIGHT_NORM
    parts = tuple(f"{name}_{part}" for part in (("v", "g") if weight_norm else ("orig", "u", "v")))
    return _from_parts(module, name, parts, dim)


def _parametrized(module: Module) -> Computed | None:
    """The weight and nothing else, by one step of weight norm or spectral norm."""
    above = module.child(_PARAMETRIZATIONS)
    steps = above.child("weight") if above is not None else None
    only = steps.child("0") if steps is not None else None
    if above is None or steps is None or only is None or len(above.table("_modules")) != 1:
        return None
    parts = _NORM_CLASSES.get(only.class_path)
    if parts is None or len(steps.table("_modules")) != 1:
        return None
    return _from_parts(module, "weight", parts, only.attribute("dim", None))


def _from_parts(module: Module, name: str, parts: tuple[str, ...], dim: Any) -> Computed | None:
    tensors = [tensor_below(module, part) for part in parts]
    if type(dim) is not int or tensors[0] is None or any(tensor is None for tensor in tensors):
        return None
    if not -1 <= dim < len(tensors[0].shape):
        return None
    compute = weight_normed if len(parts) == 2 else spectral_normed
    return Computed(name, parts, lambda *stored: compute(*stored, dim=dim))


def tensor_below(module: Module, name: str) -> StoredTensor | None:
    """A tensor of the module, or by a dotted name of one below it."""
    *path, last = name.split(".")
    below: Module | None = module
    for part in path:
        below = below.child(part) if below is not None else None
    return below.tensor(last) if below is not None else None


def weight_or_part(module: Module) -> StoredTensor | None:
    """The layer's weight; where it is computed, what has its shape."""
    made = (computed_weights(module) or {}).get("weight")
    return module.tensor("weight") if made is None else tensor_below(module, made.parts[0])


def weight_normed(direction: Tensor, magnitude: Tensor, *, dim: int) -> Tensor:
    """g * v / |v|, the norm taken over all dimensions but one (of all, for -1); arXiv 1602.07868, equation 2."""
    others = [other for other in range(direction.ndim) if other != dim]
    norm: Tensor = torch.linalg.vector_norm(direction, dim=others, keepdim=True)
    return direction * (magnitude.reshape(norm.shape) / norm)


def spectral_normed(weight: Tensor, left: Tensor, right: Tensor, *, dim: int) -> Tensor:
    """w / (u' w v), w as a matrix whose rows lie along `dim`; arXiv 1802.05957, equation 8, without an iteration."""
    matrix = weight.movedim(dim, 0).flatten(1)
    return weight / torch.dot(left, matrix @ right)


def plain_state(module: Module) -> dict[str, Any]:
    """A copy of the layer's state without what computes its weights, and what that reads."""
    state = dict(module.state)
    computed = computed_weights(module)
    if computed is None:
        return state
    gone = {name for made in computed.values() for name in (made.name, *made.parts)} | {_PARAMETRIZATIONS}
    for table in _TABLES:
        kept = {key: hook for key, hook in (mapping(state.get(table)) or {}).items() if not _is_own(hook)}
        state[table] = ordered_dict(kept)
    for table in ("_parameters", "_buffers", "_modules"):
        state[table] = {name: node for name, node in module.table(table).items() if name not in gone}
    return {name: value for name, value in state.items() if name not in gone}


def _is_own(hook: Any) -> bool:
    """Whether a hook is one of weight norm or spectral norm; torch wraps some."""
    inner = hook.state.get("hook") if isinstance(hook, Object) and isinstance(hook.state, dict) else None
    kinds = [class_of(part) for part in (hook, inner)]
    return any(kind is not None and kind.module in _OWN_MODULES for kind in kinds)


def has_computed_weights(module: Module) -> bool:
    return bool(module.hooks or module.parametrized) and computed_weights(module) is not None
