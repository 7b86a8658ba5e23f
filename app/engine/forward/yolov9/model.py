"""YOLOv9's whole models, reduced to the branch that inference reads, as the authors' own conversion does."""

from collections.abc import Sequence
from typing import Any

from app.engine.forward.family import Family, PrunedLayer
from app.engine.forward.trace import Block, Ops
from app.engine.forward.yolov7.layers import read_by
from app.engine.forward.yolov7.model import facts_as, image_shapes, is_layer_list, layers_of
from app.engine.forward.yolov7.model import model as layer_list
from app.engine.forward.yolov7.prune import configured, count_parameters, nbytes, renumber, unread
from app.engine.forward.yolov9.heads import BRANCHES, expectation_of, lists_of
from app.engine.ir.module import Module
from app.engine.ir.node import Global


def model(block: Block, image: Any, ops: Ops) -> Any:
    """Boxes and raw maps of the last branch: auxiliary ones serve training; section 3.3 of the paper."""
    found = layer_list(block, image, ops)
    if BRANCHES[layers_of(block.module)[-1].class_path] == 1:
        return found
    boxes, raw = found
    return boxes[-1], raw[-1]


def prune(module: Module) -> Sequence[PrunedLayer]:
    """The main branch becomes the only one, and the layers that fed the others go."""
    layers = layers_of(module)
    head = layers[-1]
    removed = _without_auxiliaries(module, layers, head) if _has_its_inputs(head) else []
    for layer in layers_of(module):
        count_parameters(layer)
    return removed


def _has_its_inputs(head: Module) -> bool:
    count, inputs = BRANCHES[head.class_path], head.attribute("f")
    return count > 1 and isinstance(inputs, list) and len(inputs) == count * head.attribute("nl")


def _without_auxiliaries(model: Module, layers: list[Module], head: Module) -> list[PrunedLayer]:
    kept = head.attribute("nl")
    sources = [read_by(layer, index) for index, layer in enumerate(layers)]
    auxiliary, sources[-1] = sources[-1][:-kept], sources[-1][-kept:]
    gone, removed = unread(layers, sources, auxiliary)
    head.state["f"] = head.attribute("f")[-kept:]
    removed.extend(_reduce(head))
    _rename(model, head)
    renumber(model, layers, gone)
    return removed


def _reduce(head: Module) -> list[PrunedLayer]:
    """The lists of the last branch take the names of the first."""
    last = BRANCHES[head.class_path] - 1
    children = head.table("_modules")
    main = {
        new: children[old]
        for old, new in zip((*lists_of(last), expectation_of(last)), (*lists_of(0), expectation_of(0)), strict=True)
    }
    removed = []
    for number in range(last):
        for name in (*lists_of(number), expectation_of(number)):
            branch = head.child(name)
            if branch is not None:
                reason = "an auxiliary branch: it serves training, inference reads the main one"
                removed.append(PrunedLayer(branch.path, reason, nbytes(branch)))
    children.clear()
    children.update(main)
    return removed


def _rename(model: Module, head: Module) -> None:
    """The class with one branch, also in the layer's `type` and in the configuration."""
    before = head.class_path.rpartition(".")[2]
    after = before.removeprefix("Dual").removeprefix("Triple")
    head.set_class(Global("models.yolo", after))
    if isinstance(head.attribute("type", None), str):
        head.state["type"] = f"models.yolo.{after}"
    found = configured(model)
    if found is not None and found[1]:
        entry = found[1][-1]
        if isinstance(entry[2], str):
            entry[2] = entry[2].replace(before, after)
        elif isinstance(entry[2], Global):
            entry[2] = Global(entry[2].module, after)


def _fits(module: Module) -> bool:
    """The last layer is a head of YOLOv9: other code bases have models of the same class path."""
    if not is_layer_list(module):
        return False
    head = layers_of(module)[-1]
    return head.class_path in BRANCHES and all(head.child(name) is not None for name in ("cv2", "cv3", "dfl"))


FAMILIES = tuple(
    Family(
        f"YOLOv9 {name}",
        (f"models.yolo.{name}",),
        model,
        _fits,
        defaults={"traced": False},
        example_shapes=image_shapes,
        facts=facts_as("YOLOv9"),
        prune=prune,
        runs_in="float32",
    )
    for name in ("DetectionModel", "Model")
)
