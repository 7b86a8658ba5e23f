"""Weight norm (arXiv 1602.07868) and spectral norm (arXiv 1802.05957) in a state dict: the layers as torch has them.

Hooks leave `weight_g` and `weight_v`, or `weight_orig`, `weight_u` and `weight_v`; parametrizations
`parametrizations.weight.original0` and `original1`, or `original` and `0._u`, `0._v`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.engine.caller_plan import invalid_plan
from app.engine.forward.computed_weights import tensor_below
from app.engine.forward.structure import below
from app.engine.ir.module import Module, module_node, ordered_dict
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import StoredTensor
from app.engine.plan_forms import Normed
from app.engine.weights.dress import dress
from app.engine.weights.tree import LAYERS_BY_RANK

_WEIGHT = "parametrizations.weight"


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a weight by their names below the layer: `shaped` as the weight is, the others beside it."""

    kind: str
    shaped: str
    beside: tuple[str, ...]
    hook: Global | None = None  # else a parametrization, of `step`'s class
    step: tuple[str, str] = ("", "")

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.shaped, *self.beside)


_UTILS: Final = "torch.nn.utils"
FORMS: Final = (
    Form("weight_norm", "weight_v", ("weight_g",), Global(f"{_UTILS}.weight_norm", "WeightNorm")),
    Form(
        "weight_norm",
        f"{_WEIGHT}.original1",
        (f"{_WEIGHT}.original0",),
        step=(f"{_UTILS}.parametrizations", "_WeightNorm"),
    ),
    Form("spectral_norm", "weight_orig", ("weight_u", "weight_v"), Global(f"{_UTILS}.spectral_norm", "SpectralNorm")),
    Form(
        "spectral_norm",
        f"{_WEIGHT}.original",
        (f"{_WEIGHT}.0._u", f"{_WEIGHT}.0._v"),
        step=(f"{_UTILS}.parametrizations", "_SpectralNorm"),
    ),
)


def form_of(layer: Module) -> Form | None:
    """How the weight of a layer is held, if it is in parts."""
    return next((form for form in FORMS if all(tensor_below(layer, part) is not None for part in form.parts)), None)


def normed_layers(root: Module, kind: str) -> Iterator[tuple[Module, Form]]:
    """The layers of a tree that have that norm."""
    for module in root.walk():
        form = form_of(module)
        if form is not None and form.kind == kind:
            yield module, form


def dress_normed(root: Module, kind: str, asked: Normed) -> tuple[str, ...]:
    """Make the layers that the caller speaks of what torch makes of them; their paths. Raises InvalidPlan."""
    found = {layer.path: (layer, form) for layer, form in normed_layers(root, kind)}
    named = asked.named or tuple(found)
    if not named:
        raise invalid_plan(kind, "is asked for, and the file has no layer whose weight is held so")
    if "" in named:
        raise invalid_plan(
            kind, "is asked for, and the names of the file are those of one layer: none says where it is"
        )
    for path in dict.fromkeys((*named, *asked.paths)):
        if path not in found:
            raise invalid_plan(path, f"does not hold the parts of a weight with {kind.replace('_', ' ')}")
    for path in named:
        _dress(*found[path], asked.dim_of(path))
    return named


def _dress(layer: Module, form: Form, wanted: int | None) -> None:
    shaped = tensor_below(layer, form.shaped)
    assert shaped is not None
    _check(layer, form, shaped)
    dim = _dim(layer, form, shaped, wanted)
    layer.set_class(Global(*LAYERS_BY_RANK[len(shaped.shape)]))
    if form.hook is not None:
        hook = Object(form.hook, (), "newobj", state={"name": "weight", "dim": dim})
        layer.state["_forward_pre_hooks"] = ordered_dict({0: hook})
        return
    above, steps = below(layer, "parametrizations"), below(layer, _WEIGHT)
    assert above is not None
    assert steps is not None
    dress(above, ("torch.nn.modules.container", "ModuleDict"))
    dress(steps, ("torch.nn.utils.parametrize", "ParametrizationList"))
    if steps.child("0") is None:
        steps.table("_modules")["0"] = module_node(form.step, training=False)
    step = steps.child("0")
    assert step is not None
    dress(step, form.step, dim=dim)


def _check(layer: Module, form: Form, shaped: StoredTensor) -> None:
    """Nothing but the parts and a bias, of real numbers, in the shape of a layer's weight."""
    known = {layer.at(name) for name in (*form.parts, "bias")}
    for module in layer.walk():
        for name, tensor in module.tensors():
            path = module.at(name)
            if path not in known:
                raise invalid_plan(layer.path, f"holds {path} beside the parts of its weight")
            if not tensor.dtype.is_floating_point:
                raise invalid_plan(path, f"is of {tensor.dtype}, and no real numbers")
    if len(shaped.shape) not in LAYERS_BY_RANK or not shaped.numel:
        sizes = "x".join(map(str, shaped.shape)) or "()"
        raise invalid_plan(layer.path, f"has a weight of shape {sizes}, which is no convolution's and no Linear's")


def _dim(layer: Module, form: Form, shaped: StoredTensor, wanted: int | None) -> int:
    """The dimension that the shapes tell; where they leave it open, the caller's."""
    beside = [tensor_below(layer, part) for part in form.beside]
    sizes = [tensor.shape for tensor in beside if tensor is not None]
    fit = _of_weight_norm(shaped.shape, sizes[0]) if form.kind == "weight_norm" else _of_spectral_norm(shaped, *sizes)
    if not fit:
        shown = ", ".join("x".join(map(str, shape)) or "()" for shape in (shaped.shape, *sizes))
        raise invalid_plan(layer.path, f"has parts whose shapes ({shown}) do not make a weight")
    if wanted is None and len(fit) > 1:
        choice = " or ".join(map(str, fit))
        raise invalid_plan(
            layer.path,
            f'may have its norm along dimension {choice}: its shapes leave that open. Say it: "{form.kind}": '
            f'{{"dim": {{{layer.path!r}: {fit[0]}}}}}, or "dim": {fit[0]} for all such layers '
            "(torch takes 0, and 1 for transposed convolutions)",
        )
    return wanted if wanted in fit else fit[0] if len(fit) == 1 else _misfit(layer, wanted, fit)


def _misfit(layer: Module, wanted: int | None, fit: list[int]) -> int:
    raise invalid_plan(layer.path, f"has shapes for a norm along dimension {' or '.join(map(str, fit))}, not {wanted}")


def _of_weight_norm(shape: tuple[int, ...], magnitude: tuple[int, ...]) -> list[int]:
    """A number for each index along one dimension, or one for all (-1). Dimensions of one index give the same."""
    if magnitude == ():
        return [-1]
    if len(magnitude) == len(shape):
        found = [at for at, size in enumerate(shape) if magnitude == _only(size, at, len(shape))]
        return found[:1]  # two fit only if each has one index: the norm is over all numbers then
    return [at for at, size in enumerate(shape) if magnitude == (size,)]


def _only(size: int, at: int, rank: int) -> tuple[int, ...]:
    return tuple(size if other == at else 1 for other in range(rank))


def _of_spectral_norm(shaped: StoredTensor, left: tuple[int, ...], right: tuple[int, ...]) -> list[int]:
    """Rows along one dimension, columns along all others."""
    found = [at for at, size in enumerate(shaped.shape) if left == (size,) and right == (shaped.numel // size,)]
    return found[:1] if left == (1,) else found
