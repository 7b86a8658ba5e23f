"""The witness: the package's own model with the written tensors, loaded strictly and run by the package's own code.

Nothing here knows the graph, the algebra or a description: norms that the file has no more become what is left of them
(their activation, if they have one), blocks take the form that their own class gives them.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

# How the authors' blocks are asked for their deploy form, as timm.utils.reparameterize_model asks them.
_METHODS: Final = ("fuse", "reparameterize", "switch_to_deploy")


def deployed(model: torch.nn.Module, names: Mapping[str, tuple[int, ...]]) -> torch.nn.Module:
    """`model`, edited in place so that it has parameters of these names and shapes, and no others.

    Only the structure counts: the values are what the model has. What it can't be brought to have shows when tensors
    are loaded strictly.
    """
    modules = _by_path(names)
    for path, module in list(model.named_modules()):
        if path and not _has_tensors_of(model, path, modules):
            _replace(model, path, _own_form(module, path, modules))
    for path, module in model.named_modules():
        held = names.get(f"{path}.bias")
        if held is not None and getattr(module, "bias", module) is None:
            module.register_parameter("bias", torch.nn.Parameter(torch.zeros(held), False))
    return model


def _by_path(names: Mapping[str, tuple[int, ...]]) -> dict[str, set[str]]:
    """The tensors below each path, by their names from there."""
    found: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".")
        for at in range(len(parts)):
            found.setdefault(".".join(parts[:at]), set()).add(".".join(parts[at:]))
    return found


def _has_tensors_of(model: torch.nn.Module, path: str, modules: Mapping[str, set[str]]) -> bool:
    """Whether every tensor that the module at `path` has is in the file; true also where it is no more in the model."""
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return True
    return module.state_dict().keys() - _counters(module) <= modules.get(path, set())


def _counters(module: torch.nn.Module) -> set[str]:
    return {name for name in module.state_dict() if _is_counter(name)}


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _own_form(module: torch.nn.Module, path: str, modules: Mapping[str, set[str]]) -> torch.nn.Module:
    """The deploy form of its own class where that has the file's tensors, what is left of a norm, or the module."""
    wanted = modules.get(path, set())
    if hasattr(module, "running_var") and not wanted:
        left = list(module.children())
        return torch.nn.Sequential(*left) if left else torch.nn.Identity()
    for method in _METHODS:
        if callable(getattr(module, method, None)):
            tried = copy.deepcopy(module)
            made = getattr(tried, method)()
            found = made if isinstance(made, torch.nn.Module) else tried
            if found.state_dict().keys() - _counters(found) == {name for name in wanted if not _is_counter(name)}:
                return found
    return module


def _replace(model: torch.nn.Module, path: str, module: torch.nn.Module) -> None:
    above, _, name = path.rpartition(".")
    model.get_submodule(above)._modules[name] = module


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
