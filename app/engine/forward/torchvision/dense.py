"""DenseNet (arXiv 1608.06993), SqueezeNet (arXiv 1602.07360) and ConvNeXt (arXiv 2201.03545)."""

from typing import Any

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import in_steps, steps_fit, through
from app.engine.forward.structure import maps
from app.engine.forward.torchvision.layers import rectified
from app.engine.forward.torchvision.mobile import pooled
from app.engine.forward.torchvision.resnet import flattened
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value


def dense_layer(block: Block, maps_before: Any, ops: Ops) -> Any:
    """Norm, ReLU and convolution, twice, of all maps before it; the norms in front of a ReLU can't be folded."""
    joined = ops.concat(maps_before) if isinstance(maps_before, list) else maps_before
    return through(block, joined, "norm1", "relu1", "conv1", "norm2", "relu2", "conv2")


def dense_block(block: Block, x: Value, ops: Ops) -> Value:
    """Each layer reads what all layers before it have made; figure 1."""
    found = [x]
    for layer in block:
        found.append(layer(list(found)))
    return ops.concat(found)


def densenet(block: Block, x: Value, ops: Ops) -> Any:
    return block.classifier(ops.apply("global_pool", pooled, rectified(ops, block.features(x))))


def fire(block: Block, x: Value, ops: Ops) -> Value:
    """A narrow 1x1 convolution, then 1x1 and 3x3 side by side; figure 1."""
    narrow = through(block, x, "squeeze", "squeeze_activation")
    wide = through(block, narrow, "expand3x3", "expand3x3_activation")
    return ops.concat([through(block, narrow, "expand1x1", "expand1x1_activation"), wide])


def squeezenet(block: Block, x: Value, ops: Ops) -> Value:
    return flattened(ops, through(block, x, "features", "classifier"))


def convnext_block(block: Block, x: Value, ops: Ops) -> Value:
    """Figure 4, right: a scale per channel on the branch, a parameter of the block itself."""
    return ops.add(block.stochastic_depth(ops.scale(block.block(x), block.layer_scale)), x)


FAMILIES = (
    Family(
        "torchvision DenseNet layer",
        ("torchvision.models.densenet._DenseLayer",),
        dense_layer,
        steps_fit("norm1", "relu1", "conv1", "norm2", "relu2", "conv2"),
        example_shapes=maps(),
    ),
    Family(
        "torchvision DenseNet block",
        ("torchvision.models.densenet._DenseBlock",),
        dense_block,
        example_shapes=maps(),
    ),
    Family(
        "torchvision DenseNet",
        ("torchvision.models.densenet.DenseNet",),
        densenet,
        steps_fit("features", "classifier"),
        example_shapes=images(),
    ),
    Family(
        "torchvision SqueezeNet block",
        ("torchvision.models.squeezenet.Fire",),
        fire,
        steps_fit(
            *("squeeze", "squeeze_activation", "expand1x1", "expand1x1_activation"),
            *("expand3x3", "expand3x3_activation"),
        ),
        example_shapes=maps(),
    ),
    Family(
        "torchvision SqueezeNet",
        ("torchvision.models.squeezenet.SqueezeNet",),
        squeezenet,
        steps_fit("features", "classifier"),
        example_shapes=images(),
    ),
    Family(
        "torchvision ConvNeXt block",
        ("torchvision.models.convnext.CNBlock",),
        convnext_block,
        steps_fit("block", "stochastic_depth"),
        example_shapes=maps(),
    ),
    Family(
        "torchvision ConvNeXt",
        ("torchvision.models.convnext.ConvNeXt",),
        in_steps("features", "avgpool", "classifier"),
        steps_fit("features", "avgpool", "classifier"),
        example_shapes=images(),
    ),
)
