"""torch.nn layers that only move, repeat or pad elements."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def flatten(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("flatten", torch.flatten, x, block.start_dim, block.end_dim)


def upsample(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply(
        "upsample",
        F.interpolate,
        x,
        size=block.find("size"),
        scale_factor=block.find("scale_factor"),
        mode=block.mode,
        align_corners=block.find("align_corners"),
        recompute_scale_factor=block.find("recompute_scale_factor"),
    )


def pad(block: Block, x: Value, ops: Ops) -> Value:
    """ZeroPad and ConstantPad; the sides are listed from the last dimension on."""
    return ops.apply("pad", F.pad, x, _sides(block, x), "constant", block.value)


def border_pad(block: Block, x: Value, ops: Ops) -> Value:
    mode = {"Reflection": "reflect", "Replication": "replicate"}
    name = block.module.class_path.rpartition(".")[2]
    return ops.apply("pad", F.pad, x, _sides(block, x), mode[name[: -len("Pad2d")]])


def _sides(block: Block, x: Value) -> tuple[int, ...]:
    padding = block.padding
    return tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * (len(x.shape) - 2))


def pixel_shuffle(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("pixel_shuffle", F.pixel_shuffle, x, block.upscale_factor)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    return torch.unflatten(x, 1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def shuffle_channels(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply("channel_shuffle", channel_shuffle, x, block.groups)


def _pads(*kinds: str) -> tuple[str, ...]:
    return tuple(f"torch.nn.modules.padding.{kind}Pad{dims}d" for kind in kinds for dims in (1, 2, 3))


FAMILIES = (
    Family(
        "torch.nn Flatten",
        ("torch.nn.modules.flatten.Flatten",),
        flatten,
        defaults={"start_dim": 1, "end_dim": -1},
        leaf=True,
    ),
    Family(
        "torch.nn Upsample",
        tuple(
            f"torch.nn.modules.upsampling.{name}"
            for name in ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
        ),
        upsample,
        defaults={"mode": "nearest"},
        leaf=True,
    ),
    Family("torch.nn constant pad", _pads("Zero", "Constant"), pad, defaults={"value": 0.0}, leaf=True),
    Family("torch.nn border pad", _pads("Reflection", "Replication"), border_pad, leaf=True),
    Family("torch.nn PixelShuffle", ("torch.nn.modules.pixelshuffle.PixelShuffle",), pixel_shuffle, leaf=True),
    Family("torch.nn ChannelShuffle", ("torch.nn.modules.channelshuffle.ChannelShuffle",), shuffle_channels, leaf=True),
)
