"""Which models of timm have a block with a deploy form: found by looking, so that a new timm adds its own."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import timm
import torch
from torch import nn

_METHODS = ("fuse", "reparameterize", "switch_to_deploy")  # as timm's reparameterize_model and its blocks call it

# More of the same kinds: MobileOne with the most branches, LeViT of convolutions.
_MORE = ("mobileone_s0", "levit_conv_128s")
# Without such a block; reparameterize_model leaves all of their norms. The smallest of each is measured all the same.
PLAIN = (
    *("efficientformer_l1", "efficientformerv2_s0", "swiftformer_xs", "starnet_s050", "hgnetv2_b0", "ghostnet_050"),
    *("mobilenetv3_small_050", "mobilenetv4_conv_small_035", "resnet18"),
)


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    blocks: frozenset[str]  # classes in it that have a deploy form
    parameters: int


def families() -> tuple[str, ...]:
    """For each file of timm the smallest models that together have every class with a deploy form in them."""
    files = [file for file in timm.list_modules() if _defined(file)]
    return (*(name for file in files for name in _chosen(list(_models(file)))), *_MORE)


def _chosen(models: list[Model]) -> Iterator[str]:
    """Greedily from the smallest."""
    covered: set[str] = set()
    for model in sorted(models, key=lambda one: one.parameters):
        if not model.blocks <= covered:
            covered |= model.blocks
            yield model.name


def _models(file: str) -> Iterator[Model]:
    for name in timm.list_models(module=file):
        with torch.device("meta"):
            model = timm.create_model(name)
        blocks = frozenset(type(part).__name__ for part in model.modules() if part is not model and _has(type(part)))
        yield Model(name, blocks, sum(parameter.numel() for parameter in model.parameters()))


def _defined(file: str) -> bool:
    """True if the file defines, or imports, a class with a deploy form."""
    there = vars(import_module(f"timm.models.{file}")).values()
    return any(inspect.isclass(one) and issubclass(one, nn.Module) and _has(one) for one in there)


def _has(kind: type) -> bool:
    return any(callable(getattr(kind, method, None)) for method in _METHODS)
