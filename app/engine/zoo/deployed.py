"""The witness: the package's own model with the written tensors, loaded strictly and run by the package's own code.

Nothing here knows the graph, the algebra or a description: norms that the file has no more become what is left of them
(their activation, if they have one), factors make way, blocks take the form that their own class gives them.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

# How the authors' blocks are asked for their deploy form, as timm.utils.reparameterize_model asks them.
_METHODS: Final = ("fuse", "reparameterize", "switch_to_deploy")
_FACTORS: Final = ("LayerScale", "LayerScale2d")  # one number for each channel, and nothing else


def deployed(model: torch.nn.Module, names: Iterable[str]) -> torch.nn.Module:
    """`model` with parameters of these names and no others, as far as its own code has such a form; edited in place.

    Only the structure counts: the values are what the model has. What it can't be brought to have shows when tensors
    are loaded strictly.
    """
    return _formed(model, "", _by_path(names))


def in_own_form(model: torch.nn.Module, names: Iterable[str]) -> torch.nn.Module:
    """`model` with each block in the form of its own class that these names are nearest to; edited in place.

    Other than in `deployed`, no norm makes way for its lack of names: the file may have lost them.
    """
    return _in_own_form(model, "", _by_path(names))


def _in_own_form(module: torch.nn.Module, path: str, names: Mapping[str, set[str]]) -> torch.nn.Module:
    found = _nearest(module, names.get(path, set()))
    for name, child in list(found.named_children()):
        found._modules[name] = _in_own_form(child, f"{path}.{name}" if path else name, names)
    return found


def _formed(module: torch.nn.Module, path: str, names: Mapping[str, set[str]]) -> torch.nn.Module:
    """The module with what the file has below this path."""
    wanted = names.get(path, set())
    found = _own_form(module, wanted)
    for name, child in list(found.named_children()):
        found._modules[name] = _formed(child, f"{path}.{name}" if path else name, names)
    if "bias" in wanted and getattr(found, "bias", found) is None:
        width = getattr(found, "out_channels", None) or found.get_parameter("weight").shape[0]
        found.register_parameter("bias", torch.nn.Parameter(torch.zeros(width), False))
    return found


def _by_path(names: Iterable[str]) -> dict[str, set[str]]:
    """The tensors below each path, by their names from there."""
    found: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".")
        for at in range(len(parts)):
            found.setdefault(".".join(parts[:at]), set()).add(".".join(parts[at:]))
    return found


def _own_form(module: torch.nn.Module, wanted: set[str]) -> torch.nn.Module:
    """What is left of a norm or factor that the file has not, a form of its own class if that is nearer, or the module.

    A class's form may leave norms that the file has no more: those below it are looked at next.
    """
    if not wanted and (hasattr(module, "running_var") or type(module).__name__ in _FACTORS):
        left = list(module.children())
        return torch.nn.Sequential(*left) if left else torch.nn.Identity()
    return _nearest(module, wanted)


def _nearest(module: torch.nn.Module, wanted: set[str]) -> torch.nn.Module:
    """The module, or the form that one of its class's methods gives it, if that has more of the wanted names."""
    nearest, apart = module, _apart(module, wanted)
    for method in _METHODS:
        if apart and callable(getattr(module, method, None)):
            tried = copy.deepcopy(module)
            made = getattr(tried.eval(), method)()  # some fold as evaluation computes, and refuse to otherwise
            form = made if isinstance(made, torch.nn.Module) else tried
            if _apart(form, wanted) < apart:
                nearest, apart = form, _apart(form, wanted)
    return nearest


def _apart(module: torch.nn.Module, wanted: set[str]) -> int:
    """How many names are on one side only, counters aside."""
    return len({name for name in module.state_dict().keys() ^ wanted if not _is_counter(name)})


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def loaded(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> torch.nn.Module:
    """The model with these tensors in it, none copied. Raises RuntimeError where names or shapes differ.

    Counters of batches may be missing, as torch's own loader has it for files without a version.
    """
    dtype = next((tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()), torch.float32)
    model.to(dtype)
    given = OrderedDict(tensors)
    given._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]  # versions that some loaders ask for
    missing, unexpected = model.load_state_dict(given, strict=False, assign=True)
    wrong = [*(name for name in missing if not _is_counter(name)), *unexpected]
    if wrong:
        raise RuntimeError(f"missing or unexpected: {', '.join(wrong[:6])}")
    return model.requires_grad_(False).eval()


def outputs(model: torch.nn.Module, inputs: Sequence[Tensor], dtype: torch.dtype, device: str) -> Any:
    """What the model makes of the inputs in `dtype`; it is cast in place."""
    model.to(device, dtype)
    with torch.no_grad():
        return model(*(tensor.to(device, dtype) for tensor in inputs))
