"""How YOLOv7's heads keep convolutions into which their implicit vectors were folded."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from app.engine.forward.family import DeployForm, Slot
from app.engine.forward.structure import below, put
from app.engine.ir.module import Module, identity_node
from app.engine.ir.node import Global
from app.engine.ir.tensors import parameter

DETECT_CLASS: Final = Global("models.yolo", "Detect")
# Flags that Detect's forward honours and those of IDetect and IAuxDetect don't (or differently).
_FLAGS = ("export", "end2end", "include_nms", "concat")


def flagged(head: Module) -> bool:
    """Whether Detect would give something else than this head."""
    return any(head.attribute(name, False) for name in _FLAGS)


def levels(head: Module) -> range:
    return range(int(head.attribute("nl")))


def is_neutral(head: Module) -> bool:
    """Whether all implicit vectors are zeros (added) and ones (multiplied): nothing is left to fold."""
    for i in levels(head):
        for name, neutral in (("ia", 0), ("im", 1)):
            vector = below(head, f"{name}.{i}")
            stored = vector.tensor("implicit") if vector is not None else None
            if stored is None or not bool((stored.read() == neutral).all()):
                return False
    return True


def become_detect(head: Module) -> None:
    """The plain class, which has no implicit vectors: the original loader leaves it alone."""
    for name in ("ia", "im", "m2", "forward"):
        head.drop(name)
    head.set_class(DETECT_CLASS)


def _slots(head: Module) -> tuple[Slot, ...]:
    """One a level. A head that the authors' code fused, or we, has none."""
    if head.forward_override is not None or is_neutral(head):
        return ()
    return tuple(Slot(f"m.{i}", (f"ia.{i}", f"m.{i}", f"im.{i}")) for i in levels(head))


def _put_convolutions(head: Module, convolutions: Mapping[str, Any]) -> None:
    for path, node in convolutions.items():
        put(head, path, node)


def _write_detect(head: Module, convolutions: Mapping[str, Any]) -> None:
    _put_convolutions(head, convolutions)
    if flagged(head):
        _neutralise(head)
    else:
        become_detect(head)


def _write_neutral(head: Module, convolutions: Mapping[str, Any]) -> None:
    """Vectors of zeros and ones: the original loader may fold them in once more without harm.

    The model around the head, if there is one, turns it into Detect when it takes the auxiliary layers out.
    """
    _put_convolutions(head, convolutions)
    _neutralise(head)


def _neutralise(head: Module) -> None:
    for i in levels(head):
        for name, neutral in (("ia", 0.0), ("im", 1.0)):
            vector = below(head, f"{name}.{i}")
            stored = vector.tensor("implicit") if vector is not None else None
            assert vector is not None
            assert stored is not None
            fresh = torch.full(stored.shape, neutral, dtype=stored.dtype)
            vector.table("_parameters")["implicit"] = parameter(fresh, stored.storage.location)


def _identity_slots(head: Module) -> tuple[Slot, ...]:
    return tuple(
        Slot(f"m.{i}", (f"ia.{i}", f"m.{i}", f"im.{i}"))
        for i in levels(head)
        if any((part := below(head, f"{name}.{i}")) is not None and part.has("implicit") for name in ("ia", "im"))
    )


def _write_identities(head: Module, convolutions: Mapping[str, Any]) -> None:
    """No loader fuses these heads: complete identities in the place of the vectors do."""
    _put_convolutions(head, convolutions)
    training = bool(head.attribute("training", False))
    for path in convolutions:
        level = path.rpartition(".")[2]
        put(head, f"ia.{level}", identity_node(training))
        put(head, f"im.{level}", identity_node(training))


I_DETECT = DeployForm(_slots, _write_detect, all_or_nothing=True, absorbs=False)
AUX_DETECT = DeployForm(_slots, _write_neutral, all_or_nothing=True, absorbs=False)
IDENTITIES = DeployForm(_identity_slots, _write_identities, absorbs=False)
