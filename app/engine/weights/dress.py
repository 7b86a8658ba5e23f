"""Modules that were made of names alone become torch.nn layers: class, geometry and eps are given to them."""

from typing import Any

from app.engine.algebra import Geometry
from app.engine.forward.computed_weights import weight_or_part
from app.engine.fuse.layers import convolution_attributes, convolution_class
from app.engine.ir.module import Module, module_node
from app.engine.ir.node import Global
from app.engine.ir.tensors import StoredTensor


def dress(module: Module, class_path: tuple[str, str], **attributes: Any) -> None:
    """Make the module an instance of a class, with these attributes beside what it holds."""
    module.set_class(Global(*class_path))
    module.state.update(attributes)


def dress_convolution(module: Module, geometry: Geometry) -> None:
    weight = _weight(module)
    module.table("_parameters").setdefault("bias", None)
    dress(module, convolution_class(geometry), **convolution_attributes(weight.shape, geometry))


def dress_linear(module: Module) -> None:
    weight = _weight(module)
    module.table("_parameters").setdefault("bias", None)
    sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    dress(module, ("torch.nn.modules.linear", "Linear"), **sizes)


def dress_norm(module: Module, eps: float, dims: int) -> None:
    """A batch norm over maps of so many spatial dimensions; none for rows of features."""
    mean = module.tensor("running_mean")
    assert mean is not None
    table = module.table("_parameters")
    affine = table.get("weight") is not None
    for name in ("weight", "bias"):
        table.setdefault(name, None)
    module.table("_buffers").setdefault("num_batches_tracked", None)
    dress(
        module,
        ("torch.nn.modules.batchnorm", f"BatchNorm{max(dims, 1)}d"),
        num_features=mean.numel,
        eps=eps,
        momentum=0.1,
        affine=affine,
        track_running_stats=True,
    )


def add_child(module: Module, name: str, class_path: tuple[str, str], **attributes: Any) -> None:
    """A layer without tensors, of which a state dict says nothing."""
    module.table("_modules")[name] = module_node(class_path, training=False, attributes=attributes)


def _weight(module: Module) -> StoredTensor:
    weight = weight_or_part(module)
    assert weight is not None
    return weight
