"""timm's classifier heads, and the MLPs of its transformers and ConvNets."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.timm.layers.paths import layer_paths
from app.engine.forward.torch_nn.arguments import linear_fits
from app.engine.forward.torch_nn.convolution import linear
from app.engine.forward.trace import Block, Ops


def classifier_head(block: Block, x: Any, ops: Ops) -> Any:
    """fc(drop(pool(x))), flattened at the end where fc is a convolution."""
    y = block.fc(block.drop(block.global_pool(x)))
    return y if block.find("flatten") is None else block.flatten(y)


def norm_mlp_head(block: Block, x: Any, ops: Ops) -> Any:
    y = block.flatten(block.norm(block.global_pool(x)))
    return block.fc(block.drop(block.pre_logits(y)))


def mlp(block: Block, x: Any, ops: Ops) -> Any:
    """Two layers, linear or 1x1 convolutions; GELU and drop-outs between them."""
    y = _dropped(block, "drop1", block.act(block.fc1(x)))
    y = y if block.find("norm") is None else block.norm(y)
    return _dropped(block, "drop2", block.fc2(y))


def conv_mlp(block: Block, x: Any, ops: Ops) -> Any:
    return block.fc2(block.drop(block.act(block.norm(block.fc1(x)))))


def _dropped(block: Block, name: str, x: Any) -> Any:
    """Drop-outs do nothing here; older versions have one for both places."""
    drop = block.find(name)
    drop = block.find("drop") if drop is None else drop
    return x if drop is None else drop(x)


FAMILIES = (
    Family("timm Linear", layer_paths("linear.Linear"), linear, linear_fits, example_shapes=maps(), leaf=True),
    Family(
        "timm ClassifierHead",
        layer_paths("classifier.ClassifierHead"),
        classifier_head,
        lambda module: has_children(module, "global_pool", "drop", "fc"),
    ),
    Family(
        "timm NormMlpClassifierHead",
        layer_paths("classifier.NormMlpClassifierHead"),
        norm_mlp_head,
        lambda module: has_children(module, "global_pool", "norm", "flatten", "pre_logits", "drop", "fc"),
    ),
    Family("timm Mlp", layer_paths("mlp.Mlp"), mlp, lambda module: has_children(module, "fc1", "act", "fc2")),
    Family(
        "timm ConvMlp",
        layer_paths("mlp.ConvMlp"),
        conv_mlp,
        lambda module: has_children(module, "fc1", "norm", "act", "drop", "fc2"),
    ),
)
