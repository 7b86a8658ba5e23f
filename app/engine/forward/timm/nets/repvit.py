"""RepViT; arXiv 2307.09283, figure 3."""

from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family
from app.engine.forward.images import images
from app.engine.forward.steps import sequence, steps_fit, through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def rep_vgg_depthwise(block: Block, x: Value, ops: Ops) -> Any:
    """bn(conv(x) + conv1(x) + x), all of it depthwise: one convolution."""
    return block.bn(ops.add(ops.add(block.conv(x), block.conv1(x)), x))


def block_of_repvit(block: Block, x: Value, ops: Ops) -> Any:
    y = block.se(block.token_mixer(x))
    return ops.add(y, block.channel_mixer(y))


def downsample(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "pre_block", "spatial_downsample", "channel_downsample")
    return ops.add(block.ffn(y), y)


def classifier(block: Block, x: Value, ops: Ops) -> Any:
    """Two heads, whose mean is the answer, where the model was distilled; linear all the same."""
    x = block.head_drop(x)
    if not block.find("distillation"):
        return block.head(x)
    return ops.scale(ops.add(block.head(x), block.head_dist(x)), literal(torch.tensor([0.5])))


def net(block: Block, x: Value, ops: Ops) -> Any:
    y = through(block, x, "stem", "stages")
    if block.find("global_pool") == "avg":
        y = ops.apply("global_pool", torch.mean, y, (2, 3))
    return through(block, y, "head_drop", "head")


def _family(name: str, describe: Any, *children: str, deploy: DeployForm | None = None) -> Family:
    def fits(module: Module) -> bool:
        return has_children(module, *children)

    paths = (f"timm.models.repvit.{name}",)
    return Family(f"timm RepViT {name}", paths, describe, fits, deploy=deploy, example_shapes=maps())


FAMILIES = (
    _family(
        "RepVggDw",
        rep_vgg_depthwise,
        *("conv", "conv1", "bn"),
        deploy=in_its_place("conv", "conv1", "bn"),
    ),
    sequence("timm RepViT RepVitMlp", ("timm.models.repvit.RepVitMlp",), "conv1", "act", "conv2"),
    _family("RepViTBlock", block_of_repvit, "token_mixer", "se", "channel_mixer"),
    sequence("timm RepViT RepVitStem", ("timm.models.repvit.RepVitStem",), "conv1", "act1", "conv2"),
    _family("RepVitDownsample", downsample, "pre_block", "spatial_downsample", "channel_downsample", "ffn"),
    Family(
        "timm RepVitClassifier",
        ("timm.models.repvit.RepVitClassifier", "timm.models.iformer.RepVitClassifier"),
        classifier,
        lambda module: has_children(module, "head_drop", "head"),
        deploy=in_its_place("head", "head_dist"),
        example_shapes=maps(),
    ),
    sequence("timm RepViT RepVitStage", ("timm.models.repvit.RepVitStage",), "downsample", "blocks"),
    Family(
        "timm RepViT",
        ("timm.models.repvit.RepVit",),
        net,
        steps_fit("stem", "stages", "head_drop", "head"),
        example_shapes=images(),
    ),
)
