"""timm's networks of blocks: RepVGG, MobileOne, GENet, ResNet-D and RegNetZ variants (byobnet.py)."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import maps
from app.engine.forward.trace import Block, Ops

_BODIES: dict[str, tuple[str, ...]] = {
    "BasicBlock": ("conv1_kxk", "conv2_kxk", "attn?", "drop_path?"),
    "BottleneckBlock": ("conv1_1x1", "conv2_kxk", "conv2b_kxk?", "attn?", "conv3_1x1", "attn_last?", "drop_path?"),
    "DarkBlock": ("conv1_1x1", "attn?", "conv2_kxk", "attn_last?", "drop_path?"),
    "EdgeBlock": ("conv1_kxk", "attn?", "conv2_1x1", "attn_last?", "drop_path?"),
    "SelfAttnBlock": ("conv1_1x1", "conv2_kxk?", "self_attn", "post_attn?", "conv3_1x1", "drop_path?"),
}


def _block(name: str, body: tuple[str, ...]) -> Family:
    def describe(block: Block, x: Any, ops: Ops) -> Any:
        """act(body(x) + shortcut(x)); without a shortcut there is no sum."""
        y = through(block, x, *body)
        shortcut = block.find("shortcut")
        return block.act(y if shortcut is None else ops.add(y, shortcut(x)))

    fits = steps_fit(*body, "shortcut?", "act")
    return Family(f"timm {name}", (f"timm.models.byobnet.{name}",), describe, fits, example_shapes=maps())


def stem(block: Block, x: Any, ops: Ops) -> Any:
    for child in block:
        x = child(x)
    return x


FAMILIES = (
    *(_block(name, body) for name, body in _BODIES.items()),
    sequence("timm DownsampleAvg", ("timm.models.byobnet.DownsampleAvg",), "pool", "conv"),
    Family("timm Stem", ("timm.models.byobnet.Stem",), stem, example_shapes=maps()),
    sequence(
        "timm ByobNet", ("timm.models.byobnet.ByobNet",), "stem", "stages", "final_conv", "head", examples=images()
    ),
)
