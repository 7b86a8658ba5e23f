"""The one ordered table of everything that is described. The first family whose structure fits a module serves."""

from app.engine.forward import torch_nn
from app.engine.forward.family import Family
from app.engine.forward.yolov7 import FAMILIES as YOLOV7
from app.engine.ir.module import Module

FAMILIES: tuple[Family, ...] = (*torch_nn.FAMILIES, *YOLOV7)

_BY_CLASS: dict[str, tuple[Family, ...]] = {
    path: tuple(family for family in FAMILIES if path in family.class_paths)
    for path in {path for family in FAMILIES for path in family.class_paths}
}


def family_of(module: Module) -> Family | None:
    """The description that fits the module's exact class path and structure; None if there is none."""
    for family in _BY_CLASS.get(module.class_path, ()):
        if family.fits(module):
            return family
    return None
