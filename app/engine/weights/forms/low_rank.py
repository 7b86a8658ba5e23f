"""Low-rank adapters (arXiv 2106.09685) in a state dict, under the names of `peft` and of `loralib`."""

from app.engine.algebra import Geometry
from app.engine.caller_plan import invalid_plan
from app.engine.forward.families import family_of
from app.engine.forward.structure import below
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.fuse.units import Unit, unit_of
from app.engine.ir.module import Module
from app.engine.ir.tensors import StoredTensor
from app.engine.plan_forms import LowRank
from app.engine.weights.dress import dress, dress_convolution, dress_linear
from app.engine.weights.tree import LAYERS_BY_RANK

_DICT = ("torch.nn.modules.container", "ModuleDict")
_PEFT = "peft.tuners.lora"


def low_rank_units(root: Module, asked: LowRank) -> list[Unit]:
    """The layers that the caller speaks of, each with its adapter as a unit. Raises InvalidPlan."""
    found = [module.path for module in root.walk() if module.has("lora_A") and module.has("lora_B")]
    named = asked.named or found
    if not named:
        raise invalid_plan("lora", "is asked for, and the file has no layer with lora_A and lora_B")
    for path in (*named, *asked.paths):
        if path not in found:
            raise invalid_plan(path, "does not hold lora_A and lora_B beside a weight")
    return [_unit(below(root, path) if path else root, asked) for path in named]


def _unit(module: Module | None, asked: LowRank) -> Unit:
    assert module is not None
    scaling = asked.scaling_of(module.path)
    if scaling is None:
        raise invalid_plan(module.path, "has no scaling in the plan, and a state dict does not hold it (alpha / r)")
    try:
        if module.child("base_layer") is not None:
            _dress_peft(module, asked, scaling)
        else:
            _dress_loralib(module, asked, scaling)
        family = family_of(module)
        shapes = family.example_shapes(module) if family is not None else None
        if shapes is None:
            raise invalid_plan(module.path, "has an input that is too wide")
        return unit_of(module, shapes, assumed=True)
    except UnknownFlow as unknown:
        raise invalid_plan(unknown.path or module.path, f"can't be merged: {unknown.reason}") from None


def _dress_peft(module: Module, asked: LowRank, scaling: float) -> None:
    first, second, base = (module.child(name) for name in ("lora_A", "lora_B", "base_layer"))
    if first is None or second is None or base is None:
        raise invalid_plan(module.path, "holds lora_A and lora_B which are no layers")
    _check_names(module, ("base_layer", "lora_A", "lora_B", "lora_magnitude_vector"), depth=(1, 2))
    name = _adapter(module, first, asked)
    weight = base.tensor("weight")
    down, up = (part.tensor("weight") if part else None for part in (first.child(name), second.child(name)))
    if weight is None or down is None or up is None or len(weight.shape) not in LAYERS_BY_RANK:
        raise invalid_plan(module.path, f"does not hold the weights of a layer and of its adapter {name!r}")
    _check(module, asked, weight, down, up)
    for layer in (base, first.child(name), second.child(name)):
        assert layer is not None
        _dress_layer(layer)
    for table in (first, second):
        dress(table, _DICT)
    magnitudes = module.child("lora_magnitude_vector")
    vector = magnitudes.child(name) if magnitudes is not None else None
    if magnitudes is not None and vector is not None:
        dress(magnitudes, _DICT)
        dress(vector, (f"{_PEFT}.dora", "DoraLinearLayer"))
    dress(
        module,
        (f"{_PEFT}.layer", LAYERS_BY_RANK[len(weight.shape)][1]),
        scaling={name: scaling},
        use_dora={name: vector is not None},
        _active_adapter=[name],
        merged_adapters=[],
        _disable_adapters=False,
        fan_in_fan_out=False,
    )


def _adapter(module: Module, first: Module, asked: LowRank) -> str:
    names = [name for name, _ in first.children()]
    if asked.adapter is not None and asked.adapter not in names:
        raise invalid_plan(module.path, f"has no adapter {asked.adapter!r}")
    if asked.adapter is None and len(names) != 1:
        shown = ", ".join(name[:40] for name in names[:6]) or "none"
        raise invalid_plan(module.path, f'has several adapters or none ({shown}): say which one, "adapter": NAME')
    return asked.adapter or names[0]


def _dress_layer(layer: Module) -> None:
    weight = layer.tensor("weight")
    assert weight is not None
    dims = len(weight.shape) - 2
    if dims:  # what the merged weight is does not depend on stride and padding
        dress_convolution(layer, Geometry((1,) * dims, ((0, 0),) * dims, (1,) * dims, 1))
    else:
        dress_linear(layer)


def _dress_loralib(module: Module, asked: LowRank, scaling: float) -> None:
    weight, down, up = (module.tensor(name) for name in ("weight", "lora_A", "lora_B"))
    if weight is None or down is None or up is None or any(module.children()):
        raise invalid_plan(module.path, "does not hold a weight beside lora_A and lora_B")
    _check_names(module, ("weight", "bias", "lora_A", "lora_B"), depth=(0,))
    if len(weight.shape) != 2:
        raise invalid_plan(module.path, "is no Linear: of loralib's layers only these are merged in state dicts")
    turned = _check(module, asked, weight, down, up)
    dress_linear(module)
    dress(
        module,
        ("loralib.layers", "Linear"),
        r=down.shape[0],
        scaling=scaling,
        merged=False,
        fan_in_fan_out=turned,
        in_features=down.shape[1],
        out_features=up.shape[0],
    )


def _check_names(module: Module, known: tuple[str, ...], depth: tuple[int, ...]) -> None:
    """Raises InvalidPlan for a tensor that merging would lose: it may belong to a variant of LoRA."""
    for part in module.walk():
        below_it = part.path.removeprefix(module.path).strip(".")
        for name, _ in part.tensors():
            parts = f"{below_it}.{name}".strip(".").split(".")
            tail = parts[-1] in ("weight", "bias") or len(parts) == 1
            if parts[0] not in known or len(parts) - 1 not in depth or not tail:
                raise invalid_plan(part.at(name), "is no part of a layer and its adapters that is known here")


def _check(module: Module, asked: LowRank, weight: StoredTensor, down: StoredTensor, up: StoredTensor) -> bool:
    """Whether the weight is (in, out). Raises InvalidPlan where the shapes do not fit, or leave that open."""
    tensors = (weight, down, up)
    fit = len({len(one.shape) for one in tensors}) == 1 and down.shape[0] == up.shape[1] and all(weight.shape)
    product = (up.shape[0], *down.shape[1:]) if fit else ()
    if not fit or weight.shape not in (product, product[::-1]):
        shown = ", ".join("x".join(map(str, one.shape)) or "()" for one in tensors)
        raise invalid_plan(module.path, f"has a weight and an adapter whose shapes ({shown}) do not fit")
    if not all(one.dtype.is_floating_point for one in tensors):
        raise invalid_plan(module.path, "holds weights that are no real numbers")
    turned, square = asked.fan_in_fan_out, len(product) == 2 and product[0] == product[1]
    if square and turned is None:
        raise invalid_plan(
            module.path, 'has a square weight, which may be (out, in) or (in, out): say "fan_in_fan_out": false or true'
        )
    turned = bool(turned) if square else weight.shape != product
    if turned and module.child("base_layer") is not None:
        raise invalid_plan(module.path, "has a weight of (in, out), which is not merged in peft's state dicts")
    return turned
