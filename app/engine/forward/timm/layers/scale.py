"""A factor per channel on a residual branch (LayerScale); arXiv 2103.17239, equation 5."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def layer_scale(block: Block, x: Value, ops: Ops) -> Value:
    """Tokens: channels come last."""
    return ops.scale(x, block.gamma, axis=len(x.shape) - 1)


def layer_scale_2d(block: Block, x: Value, ops: Ops) -> Value:
    return ops.scale(x, block.gamma)


def scaled_tokens(scale: Block, x: Value, ops: Ops) -> Any:
    """The factors of a map, or the identity that is left of them, while the map is tokens: channels come last."""
    return ops.call_as(scale, layer_scale, x) if has_gamma(scale.module) else scale(x)


def has_gamma(module: Module) -> bool:
    return module.tensor("gamma") is not None


FAMILIES = (
    Family(
        "timm LayerScale",
        (*layer_paths("layer_scale.LayerScale"), "timm.models.vision_transformer.LayerScale"),
        layer_scale,
        has_gamma,
        leaf=True,
    ),
    Family(
        "timm LayerScale2d",
        (
            *layer_paths("layer_scale.LayerScale2d"),
            *(
                f"timm.models.{net}.LayerScale2d"
                for net in ("fastvit", "efficientformer", "efficientformer_v2", "swiftformer")
            ),
        ),
        layer_scale_2d,
        has_gamma,
        leaf=True,
    ),
)
