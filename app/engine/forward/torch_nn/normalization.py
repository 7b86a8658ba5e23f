"""torch.nn normalisation layers. Batch norm is read as `.eval()` runs it, whatever the `training` flag says."""

import torch.nn.functional as F

from app.engine.forward.family import Family
from app.engine.forward.structure import maps
from app.engine.forward.torch_nn.arguments import batch_norm_fits
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value


def batch_norm(block: Block, x: Value, ops: Ops) -> Value:
    """Batch normalisation over dimension 1; without running statistics it depends on the batch."""
    kind = block.module.class_path.rpartition(".")[2]
    if len(x.shape) not in _RANKS.get(kind, range(2, 6)):
        raise UnknownFlow(block.module.path, "shapes-differ", f"a value of shape {x.shape} meets a {kind}")
    mean, var = block.find("running_mean"), block.find("running_var")
    if mean is None or var is None:
        mean = var = None
    return ops.batch_norm(x, mean, var, block.find("weight"), block.find("bias"), block.eps)


def instance_norm(block: Block, x: Value, ops: Ops) -> Value:
    """Of stored statistics it is a batch norm; else it normalises each map of the input by itself."""
    if len(x.shape) != int(block.module.class_path[-2]) + 2:  # without a batch, channels come first
        raise UnknownFlow(block.module.path, "shapes-differ", f"a value of shape {x.shape} meets an InstanceNorm")
    affine = block.find("weight"), block.find("bias")
    if not block.track_running_stats:
        return ops.apply("instance_norm", F.instance_norm, x, None, None, *affine, eps=block.eps)
    mean, var = block.find("running_mean"), block.find("running_var")
    if mean is None or var is None:
        raise UnknownFlow(block.module.path, "structure-differs", "it keeps no statistics, and is told to use them")
    return ops.batch_norm(x, mean, var, *affine, block.eps)


def layer_norm(block: Block, x: Value, ops: Ops) -> Value:
    shape = tuple(block.normalized_shape)
    return ops.apply("layer_norm", F.layer_norm, x, shape, block.find("weight"), block.find("bias"), block.eps)


def group_norm(block: Block, x: Value, ops: Ops) -> Value:
    return ops.apply(
        "group_norm", F.group_norm, x, block.num_groups, block.find("weight"), block.find("bias"), block.eps
    )


_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
# How many dimensions the classes take; the others take two or more.
_RANKS = {"BatchNorm1d": (2, 3), "BatchNorm2d": (4,), "BatchNorm3d": (5,)}

FAMILIES = (
    Family(
        "torch.nn batch norm",
        tuple(f"torch.nn.modules.batchnorm.{kind}" for kind in _BATCH_NORMS),
        batch_norm,
        fits=batch_norm_fits,
        defaults={"eps": 1e-5},
        example_shapes=maps(),
        leaf=True,
    ),
    Family(
        "torch.nn InstanceNorm",
        tuple(f"torch.nn.modules.instancenorm.InstanceNorm{dims}d" for dims in (1, 2, 3)),
        instance_norm,
        fits=batch_norm_fits,
        defaults={"eps": 1e-5, "track_running_stats": False},
        example_shapes=maps(),
        leaf=True,
    ),
    Family("torch.nn LayerNorm", ("torch.nn.modules.normalization.LayerNorm",), layer_norm, leaf=True),
    Family("torch.nn GroupNorm", ("torch.nn.modules.normalization.GroupNorm",), group_norm, leaf=True),
)
