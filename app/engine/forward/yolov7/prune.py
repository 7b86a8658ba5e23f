"""Takes auxiliary heads out of YOLOv7's models: inference never reads them nor the layers that feed only them."""

from collections.abc import Sequence
from typing import Any

from app.engine.forward.family import PrunedLayer
from app.engine.forward.yolov7.head_forms import DETECT_CLASS, become_detect, flagged, is_neutral, levels
from app.engine.forward.yolov7.layers import ancestors, read_by, renumbered, saved
from app.engine.ir.module import Module, mapping
from app.engine.ir.node import Global
from app.engine.ir.tensors import tensor_of

_DETECT = DETECT_CLASS.path
_AUXILIARY = "models.yolo.IAuxDetect"
_IMPLICIT = ("models.yolo.IDetect", _AUXILIARY)


def prune(model: Module) -> Sequence[PrunedLayer]:
    """Bring the model into the form of the authors' deploy configuration, after its blocks were fused.

    A head that could not be fused keeps its class and its layers.
    """
    layers = _layers(model)
    head = layers[-1]
    removed: list[PrunedLayer] = []
    if head.class_path == _AUXILIARY and head.forward_override is None and is_neutral(head) and not flagged(head):
        removed = _without_auxiliaries(model, layers)
    if head.class_path == _DETECT:
        _name_detect(model, head)
    for layer in _layers(model):
        count_parameters(layer)
    return removed


def _layers(model: Module) -> list[Module]:
    layers = model.child("model")
    assert layers is not None
    return [layer for _, layer in layers.children()]


def _without_auxiliaries(model: Module, layers: list[Module]) -> list[PrunedLayer]:
    head = layers[-1]
    last = len(layers) - 1
    inputs = list(head.attribute("f"))
    main = inputs[: len(levels(head))]
    sources = [read_by(layer, index) for index, layer in enumerate(layers)]
    auxiliary = sources[last][len(main) :]
    sources[last] = sources[last][: len(main)]
    gone, removed = unread(layers, sources, auxiliary)
    convolutions = head.child("m2")
    assert convolutions is not None
    removed.append(PrunedLayer(convolutions.path, "auxiliary heads: inference doesn't read them", nbytes(convolutions)))
    become_detect(head)
    head.state["f"] = main
    renumber(model, layers, gone)
    return removed


def unread(
    layers: Sequence[Module], sources: Sequence[Sequence[int]], auxiliary: Sequence[int]
) -> tuple[set[int], list[PrunedLayer]]:
    """The layers that only auxiliary heads read; `sources` are those of each layer, the last being the head's own."""
    gone = ancestors(auxiliary, sources) - ancestors([len(layers) - 1], sources)
    reason = "only the auxiliary heads read it, and inference doesn't read those"
    return gone, [PrunedLayer(layers[index].path, reason, nbytes(layers[index])) for index in sorted(gone)]


def renumber(model: Module, layers: list[Module], gone: set[int]) -> None:
    """Leave these layers out; what names a layer by its number follows."""
    kept = [index for index in range(len(layers)) if index not in gone]
    places = {index: place for place, index in enumerate(kept)}
    _renumber_yaml(model, layers, places)
    for index in kept:
        layer = layers[index]
        layer.state["f"] = renumbered(layer.attribute("f"), index, places)
        layer.state["i"] = places[index]
    sequence = model.child("model")
    assert sequence is not None
    children = sequence.table("_modules")
    children.clear()
    children.update({str(places[index]): layers[index].node for index in kept})
    model.state["save"] = saved([layers[index].attribute("f") for index in kept])


def configured(model: Module) -> tuple[list[Any], list[Any]] | None:
    """The lists `backbone` and `head` of the configuration that the model was made from."""
    yaml = mapping(model.attribute("yaml", None)) or {}
    backbone, head = yaml.get("backbone"), yaml.get("head")
    if not isinstance(backbone, list) or not isinstance(head, list):
        return None
    sound = all(isinstance(entry, list) and len(entry) == 4 for entry in (*backbone, *head))
    return (backbone, head) if sound else None


def _renumber_yaml(model: Module, layers: list[Module], places: dict[int, int]) -> None:
    """The entries of the layers that are kept; a configuration of another length is not the model's, and stays."""
    found = configured(model)
    if found is None or sum(map(len, found)) != len(layers):
        return
    start = 0
    for part in found:
        numbered = list(enumerate(part, start))
        start += len(part)
        part[:] = [_renumbered_entry(entry, index, layers, places) for index, entry in numbered if index in places]


def _renumbered_entry(entry: list[Any], index: int, layers: list[Module], places: dict[int, int]) -> list[Any]:
    source = layers[index].attribute("f") if index == len(layers) - 1 else entry[0]
    return [renumbered(source, index, places), *entry[1:]]


def _name_detect(model: Module, head: Module) -> None:
    """The plain class in the layer's `type` and in the configuration."""
    if head.attribute("type", None) in _IMPLICIT:
        head.state["type"] = _DETECT
    found = configured(model)
    if found is None or not found[1]:
        return
    entry = found[1][-1]
    named = entry[2]
    if isinstance(named, Global) and named.path in _IMPLICIT:
        entry[2] = DETECT_CLASS
    elif isinstance(named, str) and any(named in (path, path.rpartition(".")[2]) for path in _IMPLICIT):
        entry[2] = DETECT_CLASS.name


def count_parameters(layer: Module) -> None:
    """`np`, the number of the layer's parameters, where the authors' parser has put it."""
    if isinstance(layer.attribute("np", None), int):
        nodes = [node for module in layer.walk() for node in module.table("_parameters").values()]
        tensors = {id(node): tensor_of(node) for node in nodes}
        layer.state["np"] = sum(tensor.numel for tensor in tensors.values() if tensor is not None)


def nbytes(layer: Module) -> int:
    return sum(tensor.nbytes for module in layer.walk() for _, tensor in module.tensors())
