"""YOLOv7's whole model: a list of layers, each of which names the earlier layers that it reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.engine.forward.family import Family, PrunedLayer, Shapes
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov7.layers import read_by
from app.engine.forward.yolov7.prune import prune
from app.engine.ir.module import Module, mapping
from app.engine.ir.tensors import tensor_of

_HEADS = tuple(f"models.yolo.{name}" for name in ("Detect", "IDetect", "IAuxDetect", "IKeypoint"))
_CHANNELS = 3
_USUAL_STRIDE = 32


def model(block: Block, image: Any, ops: Ops) -> Any:
    """Each layer reads the one before it or the listed ones; the last layer's output is the model's."""
    outputs: list[Any] = []
    for index, layer in enumerate(block.model):
        sources = [image if source < 0 else outputs[source] for source in read_by(layer.module, index)]
        taken = sources if isinstance(layer.f, list) else sources[0]
        if block.traced and layer.module.class_path in _HEADS:
            return taken
        outputs.append(layer(taken))
    return outputs[-1]


def ensemble(block: Block, image: Any, ops: Ops) -> Any:
    """The first outputs of all models, side by side along the boxes."""
    return ops.concat([member(image)[0] for member in block], 1), None


def layers_of(module: Module) -> list[Module]:
    layers = module.child("model")
    return [layer for _, layer in layers.children()] if layers is not None else []


def is_layer_list(module: Module) -> bool:
    layers = layers_of(module)
    return bool(layers) and has_children(module, "model") and all(layer.has("f") and layer.has("i") for layer in layers)


def facts_as(family: str) -> Callable[[Module], Mapping[str, Any]]:
    """What is known of a model of that family: classes, stride, image channels."""

    def facts(module: Module) -> Mapping[str, Any]:
        known: dict[str, Any] = {"family": family, "channels": _channels(module)}
        classes = layers_of(module)[-1].attribute("nc", module.attribute("nc", None))
        if isinstance(classes, int):
            known["classes"] = classes
        stride = _stride(module)
        if stride is not None:
            known["stride"] = stride
        return known

    return facts


facts = facts_as("YOLOv7")


def _channels(module: Module) -> int:
    yaml = mapping(module.attribute("yaml", None)) or {}
    channels = yaml.get("ch", _CHANNELS)
    return channels if isinstance(channels, int) else _CHANNELS


def _stride(module: Module) -> int | None:
    for holder in (layers_of(module)[-1], module):
        stored = tensor_of(holder.attribute("stride", None))
        if stored is not None and stored.numel:
            return int(stored.read().max())
    return None


def image_shapes(module: Module) -> Shapes:
    """Not square, and whole strides: the smallest map is 2 by 3. A classifier may state a stride of 1."""
    stride = _stride(module) or _USUAL_STRIDE
    stride = stride if stride > 1 else _USUAL_STRIDE
    return ((2, _channels(module), 2 * stride, 3 * stride),)


def _ensemble_facts(module: Module) -> Mapping[str, Any]:
    return facts(next(member for _, member in module.children()))


def _ensemble_shapes(module: Module) -> Shapes:
    return image_shapes(next(member for _, member in module.children()))


def _ensemble_prune(module: Module) -> Sequence[PrunedLayer]:
    return [layer for _, member in module.children() for layer in prune(member)]


def _ensemble_fits(module: Module) -> bool:
    members = [member for _, member in module.children()]
    return bool(members) and all(
        member.class_path == "models.yolo.Model" and is_layer_list(member) for member in members
    )


FAMILIES = (
    Family(
        "YOLOv7 Model",
        ("models.yolo.Model",),
        model,
        is_layer_list,
        defaults={"traced": False},
        example_shapes=image_shapes,
        facts=facts,
        prune=prune,
        runs_in="float32",
    ),
    Family(
        "YOLOv7 Ensemble",
        ("models.experimental.Ensemble",),
        ensemble,
        _ensemble_fits,
        example_shapes=_ensemble_shapes,
        facts=_ensemble_facts,
        prune=_ensemble_prune,
        runs_in="float32",
    ),
)
