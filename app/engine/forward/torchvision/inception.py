"""GoogLeNet (arXiv 1409.4842) and Inception v3 (arXiv 1512.00567). Their auxiliary heads are for training alone."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from app.engine.forward.family import Family
from app.engine.forward.images import images
from app.engine.forward.steps import through
from app.engine.forward.structure import has_children, maps
from app.engine.forward.torchvision.resnet import flattened
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

_GOOGLENET = (
    *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
    *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
    *("inception5a", "inception5b", "avgpool"),
)
_INCEPTION_V3 = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *(f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
    "avgpool",
)
# What ImageNet's statistics are, as mean and deviation, where a model was trained with one half for all of them.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The parallel paths of each block, by the names of their layers; the last starts with a pool.
_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "InceptionA": (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        ("average", "branch_pool"),
    ),
    "InceptionB": (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("maximum",)),
    "InceptionC": (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        tuple(f"branch7x7dbl_{at}" for at in range(1, 6)),
        ("average", "branch_pool"),
    ),
    "InceptionD": (
        ("branch3x3_1", "branch3x3_2"),
        tuple(f"branch7x7x3_{at}" for at in range(1, 5)),
        ("maximum",),
    ),
}


def transformed(x: Tensor) -> Tensor:
    means, deviations = x.new_tensor(_MEANS).reshape(1, 3, 1, 1), x.new_tensor(_DEVIATIONS).reshape(1, 3, 1, 1)
    return x * (deviations / 0.5) + (means - 0.5) / 0.5


def _net(read_as: str, path: str, steps: tuple[str, ...]) -> Family:
    def describe(block: Block, x: Value, ops: Ops) -> Any:
        if block.transform_input:
            x = ops.apply("transform_input", transformed, x)
        return block.fc(block.dropout(flattened(ops, through(block, x, *steps))))

    return Family(
        read_as,
        (path,),
        describe,
        lambda module: has_children(module, *steps, "dropout", "fc"),
        example_shapes=images(128, 96),
        idle=("aux1", "aux2", "AuxLogits"),
    )


def inception(block: Block, x: Value, ops: Ops) -> Value:
    """Four paths side by side; figure 2b of the first paper."""
    return ops.concat([getattr(block, f"branch{at}")(x) for at in (1, 2, 3, 4)])


def _block(name: str, paths: tuple[tuple[str, ...], ...]) -> Family:
    layers = [layer for path in paths for layer in path if layer not in ("average", "maximum")]

    def describe(block: Block, x: Value, ops: Ops) -> Value:
        return ops.concat([_along(block, x, path, ops) for path in paths])

    def fits(module: Module) -> bool:
        return has_children(module, *layers)

    where = (f"torchvision.models.inception.{name}",)
    return Family(f"torchvision {name}", where, describe, fits, example_shapes=maps())


def _along(block: Block, x: Value, path: tuple[str, ...], ops: Ops) -> Any:
    if path[0] == "average":
        return through(block, ops.avg_pool(x, (3, 3), (1, 1), (1, 1)), *path[1:])
    if path[0] == "maximum":
        return ops.apply("max_pool", F.max_pool2d, x, 3, 2)
    return through(block, x, *path)


def inception_e(block: Block, x: Value, ops: Ops) -> Value:
    """Figure 7 of the second paper: two of the paths fork at their end."""
    one = block.branch3x3_1(x)
    two = block.branch3x3dbl_2(block.branch3x3dbl_1(x))
    forked = [block.branch3x3_2a(one), block.branch3x3_2b(one), block.branch3x3dbl_3a(two), block.branch3x3dbl_3b(two)]
    return ops.concat([block.branch1x1(x), *forked, _along(block, x, ("average", "branch_pool"), ops)])


FAMILIES = (
    Family(
        "torchvision Inception",
        ("torchvision.models.googlenet.Inception",),
        inception,
        lambda module: has_children(module, "branch1", "branch2", "branch3", "branch4"),
        example_shapes=maps(),
    ),
    *(_block(name, paths) for name, paths in _PATHS.items()),
    Family(
        "torchvision InceptionE",
        ("torchvision.models.inception.InceptionE",),
        inception_e,
        lambda module: has_children(module, "branch1x1", "branch3x3_1", "branch3x3dbl_1", "branch_pool"),
        example_shapes=maps(),
    ),
    _net("torchvision GoogLeNet", "torchvision.models.googlenet.GoogLeNet", _GOOGLENET),
    _net("torchvision Inception v3", "torchvision.models.inception.Inception3", _INCEPTION_V3),
)
