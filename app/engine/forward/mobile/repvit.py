"""RepViT as its authors publish it; arXiv 2307.09283, figure 3."""

from typing import Any

import torch

from app.engine.forward.family import DeployForm, Family, Members
from app.engine.forward.images import images
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.blocks.conv_norm import in_its_place
from app.engine.forward.timm.nets.repvit import rep_vgg_depthwise
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import literal
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_MODULE_LIST = "torch.nn.modules.container.ModuleList"
_FILES = ("model.repvit", "repvit")


def block_of_repvit(block: Block, x: Value, ops: Ops) -> Any:
    return block.channel_mixer(block.token_mixer(x))


def classifier(block: Block, x: Value, ops: Ops) -> Any:
    """Two heads, whose mean is the answer, where the model was distilled; linear all the same."""
    if not block.distillation:
        return block.classifier(x)
    both = ops.add(block.classifier(x), block.classifier_dist(x))
    return ops.scale(both, literal(torch.tensor([0.5])))


def net(block: Block, x: Value, ops: Ops) -> Any:
    for feature in block.features:
        x = feature(x)
    return block.classifier(ops.apply("global_pool", torch.mean, x, (2, 3)))


def _classifier_fits(module: Module) -> bool:
    distilled = module.attribute("distillation", None)
    return type(distilled) is bool and has_children(module, "classifier", *["classifier_dist"] * distilled)


def _net_fits(module: Module) -> bool:
    features = module.child("features")
    return has_children(module, "classifier") and features is not None and features.class_path == _MODULE_LIST


def _family(
    name: str, describe: Any, fits: Any, always: tuple[str, ...], *rest: str, deploy: DeployForm | None = None
) -> Family:
    paths = tuple(f"{file}.{name}" for file in _FILES)
    members = Members(always, rest)
    return Family(f"RepViT {name}", paths, describe, fits, deploy=deploy, example_shapes=maps(), members=members)


FAMILIES = (
    _family(
        "RepVGGDW",
        rep_vgg_depthwise,
        lambda module: has_children(module, "conv", "conv1", "bn"),
        ("conv", "conv1", "bn", "dim"),
        deploy=in_its_place("conv", "conv1", "bn"),
    ),
    _family(
        "RepViTBlock",
        block_of_repvit,
        lambda module: has_children(module, "token_mixer", "channel_mixer"),
        ("identity", "token_mixer", "channel_mixer"),
    ),
    _family(
        "Classfier",
        classifier,
        _classifier_fits,
        ("classifier", "distillation"),
        "classifier_dist",
        deploy=in_its_place("classifier", "classifier_dist"),
    ),
    Family(
        "RepViT",
        tuple(f"{file}.RepViT" for file in _FILES),
        net,
        _net_fits,
        example_shapes=images(),
        members=Members(("cfgs", "features", "classifier")),
    ),
)
