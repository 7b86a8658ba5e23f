"""UniRepLKNet's block: a large kernel with its norm, a gate, a network at each position; arXiv 2311.15599, figure 2.

What stands behind the last Linear (a batch norm, a factor per channel) acts on channels, wherever they lie: it is said
of the last dimension, before the channels go first, so that it can be folded into the Linear.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.engine.forward.family import DeployForm, Family, Members, Slot
from app.engine.forward.stochastic_depth import kept
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.forward.unireplknet.dilated import dilated_parts, write_large_kernel
from app.engine.forward.vocabulary import UnknownFlow, expression
from app.engine.ir.graph import Value
from app.engine.ir.module import Module, identity_node

_CONV = "torch.nn.modules.conv.Conv2d"
_IDENTITY = "torch.nn.modules.linear.Identity"
_PARTS = ("dwconv", "norm", "se", "pwconv1", "act", "pwconv2", "drop_path")
_LINEAR = "pwconv2.0"


def unireplknet_block(block: Block, x: Value, ops: Ops) -> Value:
    """x + gamma * pwconv2(act(pwconv1(se(norm(dwconv(x))))))"""
    y = block.act(block.pwconv1(block.se(block.norm(block.dwconv(x)))))
    y = ops.call_as(block.pwconv2, _projection, y, block.gamma)
    return ops.add(x, kept(block, "drop_path", y))


def _projection(block: Block, inputs: Any, ops: Ops) -> Value:
    """gamma * norm(channels first(linear(x))), the norm and gamma before the channels go first."""
    x, gamma = inputs
    children = list(block)
    y = children[0](x)
    if len(children) == 3:
        y = ops.call_as(children[2], _norm_of_last, y)
    if gamma is not None:
        y = ops.scale(y, gamma, axis=-1)
    return children[1](y)  # type: ignore[no-any-return]


def _norm_of_last(block: Block, x: Value, ops: Ops) -> Value:
    """A batch norm over the last dimension, as a factor and an offset."""
    if block.find("running_mean") is None or block.find("running_var") is None or block.find("weight") is None:
        reason = "the batch norm keeps no statistics, or has no factors"
        raise UnknownFlow(block.module.path, "batch-norm-without-statistics", reason)
    eps = block.eps

    def factor(weight: Tensor, var: Tensor) -> Tensor:
        return weight / torch.sqrt(var + eps)

    def offset(bias: Tensor, mean: Tensor, weight: Tensor, var: Tensor) -> Tensor:
        return bias - mean * factor(weight, var)

    y = ops.scale(x, expression(factor, block.weight, block.running_var), axis=-1)
    return ops.shift(y, expression(offset, block.bias, block.running_mean, block.weight, block.running_var), axis=-1)


def _fits(module: Module) -> bool:
    projection, action = module.child("pwconv2"), module.child("act")
    if not has_children(module, *_PARTS) or projection is None or action is None:
        return False
    names = [child.class_path.rpartition(".")[2] for _, child in projection.children()]
    known = names[:2] == ["Linear", "NHWCtoNCHW"] and names[2:] in ([], ["BatchNorm2d"], ["SyncBatchNorm"])
    return known and has_children(action, "0", "1") and module.has("gamma")


def _slots(module: Module) -> tuple[Slot, ...]:
    """The depthwise convolution takes its norm in; the last Linear what the response norm adds before, and its own."""
    kernel, norm, projection = module.child("dwconv"), module.child("norm"), module.child("pwconv2")
    assert kernel is not None
    assert norm is not None
    assert projection is not None
    slots = []
    inner = dilated_parts(kernel) if kernel.has("lk_origin") else ()
    if inner or norm.class_path != _IDENTITY:
        name = "dwconv" if kernel.class_path == _CONV else "dwconv.lk_origin"
        slots.append(Slot(name, ("dwconv", "norm")))
    if sum(1 for _ in projection.children()) == 3 or module.tensor("gamma") is not None:
        slots.append(Slot(_LINEAR, ("act.1.beta", "pwconv2", "gamma")))
    return tuple(slots)


def _write(module: Module, layers: Mapping[str, Any]) -> None:
    """As `reparameterize` leaves the block."""
    if _LINEAR in layers:
        _write_linear(module, layers[_LINEAR])
    kernel = next((node for name, node in layers.items() if name.startswith("dwconv")), None)
    if kernel is None:
        return
    depthwise = module.child("dwconv")
    assert depthwise is not None
    if "dwconv" in layers:
        module.replace_child("dwconv", kernel)
    else:
        write_large_kernel(depthwise, kernel)
    module.replace_child("norm", identity_node(bool(module.attribute("training", False))))


def _write_linear(module: Module, linear: Any) -> None:
    projection, action = module.child("pwconv2"), module.child("act")
    response = action.child("1") if action is not None else None
    assert projection is not None
    assert response is not None
    projection.replace_child("0", linear)
    projection.drop("2")
    module.table("_parameters")["gamma"] = None
    if response.attribute("use_bias", False):
        response.drop("beta")
        response.state["use_bias"] = False


FAMILIES = (
    Family(
        "UniRepLKNet UniRepLKNetBlock",
        ("unireplknet.UniRepLKNetBlock",),
        unireplknet_block,
        _fits,
        deploy=DeployForm(_slots, _write),
        example_shapes=maps(),
        members=Members(("with_cp", *_PARTS, "gamma")),
    ),
)
