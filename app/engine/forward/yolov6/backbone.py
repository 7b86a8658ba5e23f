"""YOLOv6's backbones: stages of re-parameterised blocks, each at half the size of the one before."""

from collections.abc import Callable

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

PATH = "yolov6.models.efficientrep"
_LITE = ("lite_effiblock_1", "lite_effiblock_2", "lite_effiblock_3", "lite_effiblock_4")


def _stages(last: int) -> tuple[str, ...]:
    return tuple(f"ERBlock_{number}" for number in range(2, last + 1))


def _rep(last: int, always_first: bool = False) -> Describe:
    def describe(block: Block, image: Value, ops: Ops) -> tuple[Value, ...]:
        """The maps of all stages, the finest of them only where the neck reads it (`fuse_P2`)."""
        x = block.stem(image)
        found: list[Value] = []
        for name in _stages(last):
            x = getattr(block, name)(x)
            found.append(x)
        return tuple(found if always_first or block.fuse_P2 else found[1:])

    return describe


def lite(block: Block, image: Value, ops: Ops) -> tuple[Value, ...]:
    """The maps of all stages but the first."""
    x = block.conv_0(image)
    found: list[Value] = []
    for name in _LITE:
        x = getattr(block, name)(x)
        found.append(x)
    return tuple(found[1:])


def _rep_fits(last: int) -> Callable[[Module], bool]:
    """Its first versions had no `fuse_P2`."""
    return lambda module: has_children(module, "stem", *_stages(last))


def _family(name: str, describe: Describe, fits: Callable[[Module], bool]) -> Family:
    return Family(f"YOLOv6 {name}", (f"{PATH}.{name}",), describe, fits, defaults={"fuse_P2": False})


FAMILIES = (
    _family("EfficientRep", _rep(5), _rep_fits(5)),
    _family("EfficientRep6", _rep(6), _rep_fits(6)),
    _family("CSPBepBackbone", _rep(5), _rep_fits(5)),
    _family("CSPBepBackbone_P6", _rep(6, always_first=True), _rep_fits(6)),
    _family("Lite_EffiBackbone", lite, lambda module: has_children(module, "conv_0", *_LITE)),
)
