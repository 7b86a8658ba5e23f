"""timm's EfficientNet (arXiv 1905.11946), MobileNetV3 (arXiv 1905.02244), MobileNetV4 (arXiv 2404.10518) and kin."""

from dataclasses import replace
from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit
from app.engine.forward.structure import maps
from app.engine.forward.timm.blocks.mixed import mixed_form, through_mixed
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow

_FILES = ("_efficientnet_blocks", "efficientnet_blocks")  # the second until 0.8
# Older versions have the activations beside the norms, under names of their own.
_BODIES: dict[str, tuple[str, ...]] = {
    "ConvBnAct": ("conv", "bn1", "act1?", "aa?", "drop_path?"),
    "DepthwiseSeparableConv": (
        *("conv_s2d?", "bn_s2d?", "conv_dw", "bn1", "act1?", "aa?", "se?", "conv_pw", "bn2", "act2?", "drop_path?"),
    ),
    "InvertedResidual": (
        *("conv_s2d?", "bn_s2d?", "conv_pw", "bn1", "act1?", "conv_dw", "bn2", "act2?", "aa?", "se?"),
        *("conv_pwl", "bn3", "drop_path?"),
    ),
    "UniversalInvertedResidual": (
        *("dw_start", "pw_exp", "dw_mid", "se", "pw_proj", "dw_end", "layer_scale", "drop_path?"),
    ),
    "EdgeResidual": ("conv_exp", "bn1", "act1?", "aa?", "se?", "conv_pwl", "bn2", "drop_path?"),
}


def _block(name: str, body: tuple[str, ...]) -> tuple[Family, Family]:
    """With norms behind mixed convolutions, and without."""

    def describe(block: Block, x: Any, ops: Ops) -> Any:
        y = through_mixed(block, x, body, ops)
        return ops.add(y, x) if _skips(block) else y

    paths, fits = tuple(f"timm.models.{file}.{name}" for file in _FILES), steps_fit(*body)
    plain = Family(f"timm {name}", paths, describe, fits, example_shapes=maps())
    form = mixed_form(body)
    mixed = replace(plain, fits=lambda module: fits(module) and bool(form.slots(module)), deploy=form)
    return mixed, plain


def _skips(block: Block) -> bool:
    """Whether the input is added; the attribute was called `has_residual` until 0.5."""
    for name in ("has_skip", "has_residual"):
        if block.has(name):
            return bool(block.find(name))
    raise UnknownFlow(block.module.path, "structure-differs", "it does not say whether its input is added")


FAMILIES = (
    *(family for name, body in _BODIES.items() for family in _block(name, body)),
    sequence(
        "timm EfficientNet",
        ("timm.models.efficientnet.EfficientNet",),
        *("conv_stem", "bn1", "act1?", "blocks", "conv_head", "bn2", "act2?", "global_pool", "classifier"),
        examples=images(),
    ),
    sequence(
        "timm MobileNetV3",
        ("timm.models.mobilenetv3.MobileNetV3",),
        *("conv_stem", "bn1", "act1?", "blocks", "global_pool", "conv_head", "norm_head?", "act2", "flatten?"),
        "classifier",
        examples=images(),
    ),
)
