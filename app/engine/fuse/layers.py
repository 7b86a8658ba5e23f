"""Fused convolutions as inert torch.nn layers: Conv1d-3d, ConvTranspose1d-3d, Linear."""

from typing import Any

from torch import Tensor

from app.engine.algebra import Geometry, Plan, Refusal
from app.engine.forward.computed_weights import plain_state
from app.engine.ir.module import Module, mapping, module_node
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import parameter


def layer_refusal(kernel: tuple[int, ...], geometry: Geometry) -> Refusal | None:
    """Why torch.nn has no layer of this geometry; None if it has."""
    if not geometry.ndim and geometry.groups != 1:
        return Refusal("grouped-linear", f"torch.nn has no Linear with {geometry.groups} groups")
    if any(begin != end for begin, end in geometry.padding) and not _same(kernel, geometry):
        return Refusal("uneven-padding", f"torch.nn has no convolution with padding {geometry.padding}")
    return None


def _same(kernel: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether this is the padding that torch.nn calls "same": the odd one at the end."""
    totals = geometry.reach(kernel)
    same = tuple((total // 2, total - total // 2) for total in totals)
    return geometry.padding == same and all(step == 1 for step in geometry.stride)


def layer_name(weight_shape: tuple[int, ...], geometry: Geometry) -> str:
    """What the report calls the layer: `Conv2d(16, 32, 3x3)`."""
    kernel = weight_shape[2:]
    wide, out = _channels(weight_shape, geometry)
    if not kernel:
        return f"Linear({wide}, {out})"
    parts = [str(wide), str(out), "x".join(map(str, kernel))]
    parts += [f"stride {geometry.stride[0]}"] if any(s != 1 for s in geometry.stride) else []
    parts += [f"groups {geometry.groups}"] if geometry.groups != 1 else []
    return f"{_class_name(len(kernel), geometry)}({', '.join(parts)})"


def _channels(weight_shape: tuple[int, ...], geometry: Geometry) -> tuple[int, int]:
    """(in, out)"""
    plan = Plan(weight_shape, geometry)
    return plan.in_channels, plan.out_channels


def _class_name(dims: int, geometry: Geometry) -> str:
    return f"ConvTranspose{dims}d" if geometry.transposed else f"Conv{dims}d"


def layer_node(
    weight: Tensor, bias: Tensor, geometry: Geometry, template: Module | None, training: bool, location: str = "cpu"
) -> Object:
    """A new layer that holds these weights, not copies; what a template has and fusing does not touch is kept.

    `location` is the device that torch.load puts them on.
    """
    kernel = tuple(weight.shape[2:])
    held = {"weight": weight, "bias": bias}
    parameters: dict[str, Any] = {name: parameter(part, location=location, owned=True) for name, part in held.items()}
    if not kernel:
        attributes: dict[str, Any] = {"in_features": weight.shape[1], "out_features": weight.shape[0]}
        return _node(("torch.nn.modules.linear", "Linear"), attributes, parameters, template, training)
    attributes = convolution_attributes(tuple(weight.shape), geometry)
    class_path = convolution_class(geometry)
    return _node(class_path, attributes, parameters, template, training)


def refilled_node(layer: Module, weight: Tensor, bias: Tensor, location: str = "cpu") -> Object:
    """The same layer, of its own class, with other weights."""
    old, state = layer.node, dict(layer.state)
    held = {"weight": weight, "bias": bias}
    fresh = {name: parameter(part, location=location, owned=True) for name, part in held.items()}
    state["_parameters"] = _like(state["_parameters"], {**layer.table("_parameters"), **fresh})
    return Object(old.origin, old.args, old.how, old.kwargs, state)


def convolution_class(geometry: Geometry) -> tuple[str, str]:
    """The module and name of torch.nn's class of this geometry."""
    return "torch.nn.modules.conv", _class_name(geometry.ndim, geometry)


def convolution_attributes(weight_shape: tuple[int, ...], geometry: Geometry) -> dict[str, Any]:
    """What torch.nn's constructor makes attributes of."""
    kernel = weight_shape[2:]
    wide, out = _channels(weight_shape, geometry)
    even = all(begin == end for begin, end in geometry.padding)
    return {
        "in_channels": wide,
        "out_channels": out,
        "kernel_size": kernel,
        "stride": geometry.stride,
        "padding": tuple(begin for begin, _ in geometry.padding) if even else "same",
        "dilation": geometry.dilation,
        "transposed": geometry.transposed,
        "output_padding": geometry.output_padding or (0,) * len(kernel),
        "groups": geometry.groups,
        "padding_mode": geometry.padding_mode,
        "_reversed_padding_repeated_twice": [side for pair in reversed(geometry.padding) for side in pair],
    }


def _node(
    class_path: tuple[str, str],
    attributes: dict[str, Any],
    parameters: dict[str, Any],
    template: Module | None,
    training: bool,
) -> Object:
    node = module_node(class_path, training=training, parameters=parameters, attributes=attributes)
    if template is None or template.class_path != ".".join(class_path):
        return node
    state = plain_state(template)
    kept = mapping(state["_parameters"])
    assert kept is not None
    state.update(attributes)
    state["_parameters"] = _like(template.state["_parameters"], {**kept, **parameters})
    return Object(Global(*class_path), (), "newobj", state=state)


def _like(table: Any, content: dict[Any, Any]) -> Any:
    """`content` in the kind of table that was there: a dict, or an OrderedDict node."""
    return content if isinstance(table, dict) else Object(table.origin, table.args, table.how, pairs=content)
