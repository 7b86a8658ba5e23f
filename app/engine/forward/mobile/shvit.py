"""SHViT as its authors publish it: single-head attention over a part of the channels; arXiv 2401.16456, figure 5."""

from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import Family, Members
from app.engine.forward.images import images
from app.engine.forward.mobile.heads import distilled_head, distilled_head_fits
from app.engine.forward.steps import in_steps, steps_fit
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.nets.shvit import part
from app.engine.forward.torch_nn.normalization import group_norm
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_FILES = ("model.shvit", "model.efficientvit", "shvit", "efficientvit")
_BLOCKS = ("blocks1", "blocks2", "blocks3")
NET_MEMBERS = Members(("patch_embed", *_BLOCKS, "head", "distillation"), ("head_dist",))


def attention(block: Block, x: Value, ops: Ops) -> Any:
    """Attention over the first channels; all of them are projected."""
    attended, passed = (ops.apply("part", part, x, block.pdim, which) for which in (0, 1))
    qkv = block.qkv(block.pre_norm(attended))
    return block.proj(ops.concat([ops.apply("attention", attend, qkv, block.qk_dim, block.scale), passed]))


def attend(qkv: Tensor, width: int, scale: float) -> Tensor:
    """softmax(scale q' k) v for one head over maps; q and k have `width` channels."""
    flat = qkv.flatten(2)
    q, k, v = flat[:, :width], flat[:, width : 2 * width], flat[:, 2 * width :]
    scores = torch.softmax((q.transpose(1, 2) @ k) * scale, -1)
    return torch.unflatten(v @ scores.transpose(1, 2), 2, qkv.shape[2:])


def net(block: Block, x: Any, ops: Ops) -> Any:
    """Of EfficientViT as well: the blocks make the difference."""
    x = block.patch_embed(x)
    for name in _BLOCKS:
        x = getattr(block, name)(x)
    return distilled_head(block, ops.apply("global_pool", torch.mean, x, (2, 3)), ops)


def net_fits(module: Module) -> bool:
    return has_children(module, "patch_embed", *_BLOCKS) and distilled_head_fits(module)


def _paths(name: str, *files: str) -> tuple[str, ...]:
    return tuple(f"{file}.{name}" for file in files or _FILES)


def _in_steps(name: str, *steps: str) -> Family:
    """A class that calls its children in this order, perhaps one of them twice."""
    return Family(
        f"SHViT {name}",
        _paths(name),
        in_steps(*steps),
        steps_fit(*steps),
        example_shapes=maps(2),
        members=Members(tuple(dict.fromkeys(steps))),
    )


FAMILIES = (
    _in_steps("PatchMerging", "conv1", "act", "conv2", "act", "se", "conv3"),
    _in_steps("FFN", "pw1", "act", "pw2"),
    _in_steps("BasicBlock", "conv", "mixer", "ffn"),
    Family(
        "SHViT SHSA",
        _paths("SHSA"),
        attention,
        lambda module: has_children(module, "pre_norm", "qkv", "proj"),
        members=Members(("scale", "qk_dim", "dim", "pdim", "pre_norm", "qkv", "proj")),
    ),
    Family(
        "SHViT GroupNorm",
        _paths("GroupNorm"),
        group_norm,
        members=Members(("num_groups", "num_channels", "eps", "affine", "weight", "bias")),
    ),
    Family(
        "SHViT",
        ("model.shvit.SHViT", "shvit.SHViT"),
        net,
        net_fits,
        example_shapes=images(128, 96),
        members=NET_MEMBERS,
    ),
)
