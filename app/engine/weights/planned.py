"""The caller's plan on a state dict: the layers that it names get the geometry that their shapes and it tell."""

from math import prod

from app.engine.algebra import Geometry
from app.engine.caller_plan import CallerPlan, Pair, invalid_plan
from app.engine.forward.computed_weights import computed_weights, weight_or_part
from app.engine.forward.structure import below
from app.engine.fuse.pairs import READ_AS, pair_unit
from app.engine.fuse.units import blocks
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.weights.blueprint import Blueprint, Mismatch
from app.engine.weights.container import Tensors
from app.engine.weights.dress import dress_convolution, dress_linear, dress_norm
from app.engine.weights.forms.alone import layer_unit
from app.engine.weights.forms.low_rank import low_rank_units
from app.engine.weights.forms.norms import dress_normed
from app.engine.weights.tree import tree_of

_LAYER = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def planned(plan: CallerPlan, tensors: Tensors) -> Blueprint | Mismatch:
    """The model as far as the plan speaks of it. A Mismatch where not one path is there: another prefix may fit."""
    root, loose = tree_of(tensors)
    missing = [path for path in plan.paths if below(root, path) is None]
    if missing and len(missing) == len(plan.paths):
        return Mismatch(missing=missing)
    for path in missing:
        raise invalid_plan(path, "is no module that the names of the file speak of")
    made = [path for kind, asked in plan.norms.items() for path in dress_normed(root, kind, asked)]
    for pair in plan.pairs:
        _dress(root, pair, plan.eps_of(pair))
    units = [pair_unit(root, pair) for pair in plan.pairs]
    paired = {path for pair in plan.pairs for path in pair.paths}
    units.extend(layer_unit(root, path) for path in made if path not in paired)
    if plan.lora is not None:
        units.extend(low_rank_units(root, plan.lora))
    reason = "no pair of the plan names it"
    return Blueprint(root, blocks(root, tuple(units), reason), loose, family=None, read_as=READ_AS, notes=_words(plan))


def _words(plan: CallerPlan) -> tuple[str, ...]:
    """What the file does not prove."""
    notes = []
    if plan.pairs:
        notes.append("which layer feeds which norm is the caller's word (plan=), and not proved by the file")
    if plan.lora is not None:
        notes.append(
            "the scaling, and that the adapters were not merged into the weights before, is the caller's word (plan=): "
            "loralib merges them in evaluation mode and leaves them in the file"
        )
    return tuple(notes)


def _dress(root: Module, pair: Pair, eps: float) -> None:
    layer, norm = below(root, pair.layer), below(root, pair.norm)
    assert layer is not None
    assert norm is not None
    weight = _weight(layer, pair)
    width = _width(norm)
    groups = _groups(pair, weight, width)
    if pair.linear is not None:
        dress_linear(layer)
        channels = weight.shape[0] if pair.order == "norm-last" else weight.shape[1]
    else:
        geometry = _geometry(pair, weight, groups)
        dress_convolution(layer, geometry)
        first, second = weight.shape[0], weight.shape[1] * groups
        channels = first if (pair.order == "norm-last") != pair.transposed else second
    if channels != width:
        raise invalid_plan(
            pair.norm, f"has {width:,} channels, and {pair.layer}, of shape {_sizes(weight)}, has {channels:,}"
        )
    dress_norm(norm, eps, dims=len(weight.shape) - 2)


def _weight(layer: Module, pair: Pair) -> StoredTensor:
    weight = weight_or_part(layer)
    made = (computed_weights(layer) or {}).values()
    parts = {part for one in made for part in one.parts}
    kind, ranks = ("Linear", (2,)) if pair.linear is not None else ("convolution", (3, 4, 5))
    others = [name for name, _ in layer.tensors() if name not in (*_LAYER, *parts)]
    _check_numbers(layer, _LAYER)
    if weight is None or others or (any(layer.children()) and not layer.parametrized):
        raise invalid_plan(pair.layer, f"does not hold weight and bias of a {kind}{_listed(others)}")
    if len(weight.shape) not in ranks or not prod(weight.shape):
        raise invalid_plan(pair.layer, f"has a weight of shape {_sizes(weight)}, which is no {kind}'s")
    return weight


def _check_numbers(module: Module, names: tuple[str, ...]) -> None:
    for name, tensor in module.tensors():
        if name in names and not tensor.dtype.is_floating_point:
            raise invalid_plan(module.at(name), f"is of {tensor.dtype}, and no real numbers")


def _width(norm: Module) -> int:
    mean = norm.tensor("running_mean")
    others = [name for name, _ in norm.tensors() if name not in _NORM]
    _check_numbers(norm, _NORM[:4])
    if mean is None or norm.tensor("running_var") is None or others or any(norm.children()):
        raise invalid_plan(norm.path, f"does not hold running_mean and running_var of a batch norm{_listed(others)}")
    for name, tensor in norm.tensors():
        if name != "num_batches_tracked" and tensor.shape != (mean.numel,):
            raise invalid_plan(norm.at(name), f"has shape {_sizes(tensor)}, and the norm {mean.numel:,} channels")
    return mean.numel


def _groups(pair: Pair, weight: StoredTensor, width: int) -> int:
    """As many as the norm's channels tell; where it is on the side of all channels any number gives the same fold."""
    told = pair.transposed or pair.order == "norm-first"
    return max(1, width // weight.shape[1]) if told and pair.linear is None and width % weight.shape[1] == 0 else 1


def _geometry(pair: Pair, weight: StoredTensor, groups: int) -> Geometry:
    """Stride and dilation do not matter to a fold, nor does padding to one of what follows."""
    if weight.shape[0] % groups:
        raise invalid_plan(pair.layer, f"has {weight.shape[0]:,} channels, which are no {groups:,} groups")
    dims = len(weight.shape) - 2
    padding = pair.padding or 0
    return Geometry(
        stride=(1,) * dims,
        padding=((padding, padding),) * dims,
        dilation=(1,) * dims,
        groups=groups,
        transposed=pair.transposed,
    )


def _sizes(tensor: StoredTensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"


def _listed(names: list[str]) -> str:
    return f": it holds {', '.join(names[:6])}" if names else ""
