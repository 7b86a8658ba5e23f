"""UniRepLKNet's whole model; arXiv 2311.15599, figure 2."""

from collections.abc import Mapping
from typing import Any

import torch

from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.structure import has_children, input_channels, out_features
from app.engine.forward.trace import Block, Ops
from app.engine.ir.module import Module

_STAGES = 4
_STRIDE = 32


def model(block: Block, image: Any, ops: Ops) -> Any:
    """Class scores, or the normalised maps of every stage."""
    x, stages = image, []
    features = block.output_mode == "features"
    for index in range(_STAGES):
        x = block.stages[index](block.downsample_layers[index](x))
        if features:
            stages.append(getattr(block, f"norm{index}")(x))
    return stages if features else block.head(block.norm(ops.apply("mean", torch.mean, x, (-2, -1))))


def _fits(module: Module) -> bool:
    lists = [module.child(name) for name in ("downsample_layers", "stages")]
    whole = all(part is not None and sum(1 for _ in part.children()) == _STAGES for part in lists)
    mode = module.attribute("output_mode", None)
    ends = {"logits": ("norm", "head"), "features": tuple(f"norm{index}" for index in range(_STAGES))}
    return whole and mode in ends and has_children(module, *ends[mode])


def _shapes(module: Module) -> Shapes | None:
    taken = input_channels(module)
    return None if taken is None else ((2, taken[0], 2 * _STRIDE, 3 * _STRIDE),)


def _facts(module: Module) -> Mapping[str, Any]:
    taken, classes = input_channels(module), out_features(module.child("head"))
    known = {"channels": taken[0] if taken else None, "classes": classes, "stride": _STRIDE}
    return {"family": "UniRepLKNet", **{name: value for name, value in known.items() if value is not None}}


FAMILIES = (
    Family(
        "UniRepLKNet UniRepLKNet",
        ("unireplknet.UniRepLKNet",),
        model,
        _fits,
        example_shapes=_shapes,
        facts=_facts,
        members=Members(
            ("with_cp", "downsample_layers", "stages", "for_pretrain", "for_downstream", "init_cfg", "output_mode"),
            ("norm", "head", *(f"norm{index}" for index in range(_STAGES))),
        ),
        idle=("norm", "head", *(f"norm{index}" for index in range(_STAGES))),  # of the other mode
    ),
)
