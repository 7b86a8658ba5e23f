"""Weights that torch's own hooks compute before each call: weight norm and spectral norm, as `torch.nn.utils` has them.

Only these exact classes on plain layers are seen through. (torch pickles no module with a parametrization, which is how
newer code does the same.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.engine.ir.module import Module, class_of, mapping, ordered_dict
from app.engine.ir.node import Global, Object

_LAYERS = ("torch.nn.modules.conv.", "torch.nn.modules.linear.Linear")
_WEIGHT_NORM = Global("torch.nn.utils.weight_norm", "WeightNorm")
_SPECTRAL_NORM = Global("torch.nn.utils.spectral_norm", "SpectralNorm")
_TABLES = ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")
_OWN_MODULES = (_WEIGHT_NORM.module, _SPECTRAL_NORM.module)


@dataclass(frozen=True, slots=True)
class Computed:
    """A parameter that is computed from others before each call."""

    name: str  # "weight"
    parts: tuple[str, ...]  # "weight_v", "weight_g"
    compute: Callable[..., Tensor]


def computed_weights(module: Module) -> Mapping[str, Computed] | None:
    """What the layer's hooks compute, by name; None if one of them is of any other kind."""
    hooks = mapping(module.state.get("_forward_pre_hooks")) or {}
    plain = module.class_path.startswith(_LAYERS)
    if not hooks or not plain or any(name != "_forward_pre_hooks" for name in module.hooks):
        return None
    found = [_computed(module, hook) for hook in hooks.values()]
    computed = {made.name: made for made in found if made is not None}
    return computed if len(computed) == len(hooks) else None


def _computed(module: Module, hook: Any) -> Computed | None:
    kind = class_of(hook)
    if kind not in (_WEIGHT_NORM, _SPECTRAL_NORM) or not isinstance(hook.state, dict):
        return None
    name, dim = hook.state.get("name"), hook.state.get("dim")
    if not isinstance(name, str) or type(dim) is not int:
        return None
    weight_norm = kind == _WEIGHT_NORM
    parts = tuple(f"{name}_{part}" for part in (("v", "g") if weight_norm else ("orig", "u", "v")))
    tensors = [module.tensor(part) for part in parts]
    if tensors[0] is None or any(tensor is None for tensor in tensors):
        return None
    if not -1 <= dim < len(tensors[0].shape):
        return None
    compute = weight_normed if weight_norm else spectral_normed
    return Computed(name, parts, lambda *stored: compute(*stored, dim=dim))


def weight_normed(direction: Tensor, magnitude: Tensor, *, dim: int) -> Tensor:
    """g * v / |v|, the norm taken over all dimensions but one (of all, for -1); arXiv 1602.07868, equation 2."""
    others = [other for other in range(direction.ndim) if other != dim]
    norm: Tensor = torch.linalg.vector_norm(direction, dim=others, keepdim=True)
    return direction * (magnitude / norm)


def spectral_normed(weight: Tensor, left: Tensor, right: Tensor, *, dim: int) -> Tensor:
    """w / (u' w v), w as a matrix whose rows lie along `dim`; arXiv 1802.05957, equation 8, without an iteration."""
    matrix = weight.movedim(dim, 0).flatten(1)
    return weight / torch.dot(left, matrix @ right)


def plain_state(module: Module) -> dict[str, Any]:
    """A copy of the layer's state without these hooks and what they read."""
    state = dict(module.state)
    computed = computed_weights(module)
    if computed is None:
        return state
    gone = {name for made in computed.values() for name in (made.name, *made.parts)}
    for table in _TABLES:
        kept = {key: hook for key, hook in (mapping(state.get(table)) or {}).items() if not _is_own(hook)}
        state[table] = ordered_dict(kept)
    for table in ("_parameters", "_buffers"):
        state[table] = {name: node for name, node in module.table(table).items() if name not in gone}
    return {name: value for name, value in state.items() if name not in gone}


def _is_own(hook: Any) -> bool:
    """Whether a hook is one of weight norm or spectral norm; torch wraps some."""
    inner = hook.state.get("hook") if isinstance(hook, Object) and isinstance(hook.state, dict) else None
    kinds = [class_of(part) for part in (hook, inner)]
    return any(kind is not None and kind.module in _OWN_MODULES for kind in kinds)


def has_computed_weights(module: Module) -> bool:
    return bool(module.hooks) and computed_weights(module) is not None
