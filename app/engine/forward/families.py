"""The one ordered table of everything that is described. The first family whose structure fits a module serves."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from app.engine.forward import (
    acnet,
    dbb,
    lora,
    mmcv,
    mobile,
    mobileone,
    orepa,
    replknet,
    repvgg,
    rtdetr,
    timm,
    torch_nn,
    torchvision,
    ultralytics,
    unireplknet,
    yolov5,
    yolov6,
    yolov7,
    yolov9,
    yolox,
)
from app.engine.forward.family import Family
from app.engine.ir.module import Module

FAMILIES: tuple[Family, ...] = (
    *torch_nn.FAMILIES,
    *yolov5.FAMILIES,
    *yolov9.FAMILIES,
    *yolov7.FAMILIES,
    *mmcv.FAMILIES,
    *yolox.FAMILIES,
    *rtdetr.FAMILIES,
    *yolov6.FAMILIES,
    *ultralytics.FAMILIES,
    *repvgg.FAMILIES,
    *mobileone.FAMILIES,
    *acnet.FAMILIES,
    *dbb.FAMILIES,
    *orepa.FAMILIES,
    *timm.FAMILIES,
    *mobile.FAMILIES,
    *replknet.FAMILIES,
    *unireplknet.FAMILIES,
    *lora.FAMILIES,
    *torchvision.FAMILIES,
)

_Key = Callable[[str], str]


def _class_name(path: str) -> str:
    return path.rpartition(".")[2]


def _table(families: Iterable[Family], key: _Key) -> dict[str, tuple[Family, ...]]:
    """Families in order, by a part of their class paths."""
    found: dict[str, dict[int, Family]] = {}
    for family in families:
        for path in family.class_paths:
            found.setdefault(key(path), {})[id(family)] = family
    return {name: tuple(table.values()) for name, table in found.items()}


_BY_PATH = _table(FAMILIES, str)
_ELSEWHERE = tuple(
    replace(family, assumed=True, read_as=f"{family.read_as}, by its structure")
    for family in FAMILIES
    if family.members
)
_BY_NAME = _table(_ELSEWHERE, _class_name)
_ALTERED = {id(family): family.altered for family in FAMILIES if family.members}


def family_of(module: Module) -> Family | None:
    """The description that fits the module's exact class path and structure; None if there is none.

    A renamed file or package is seen through where class name and members leave no doubt.
    """
    for family in _BY_PATH.get(module.class_path, ()):
        if family.fits(module):
            return _as_published(family, module)
    return _family_elsewhere(module)


def _as_published(family: Family, module: Module) -> Family | None:
    """The family, where the module holds what the published class holds; None for a changed copy under its path.

    A parameter, buffer or child more means another forward; an attribute more may.
    """
    members = family.members
    if members is None or not (more := members.more_than_those(module)):
        return family
    return None if more & set(module.registered_names()) else _ALTERED[id(family)]


def _family_elsewhere(module: Module) -> Family | None:
    """The one family whose class has this name and these members, under another module path."""
    found = [
        family
        for family in _BY_NAME.get(_class_name(module.class_path), ())
        if family.members is not None and family.members.are_those_of(module) and family.fits(module)
    ]
    return found[0] if len(found) == 1 else None
