"""YOLOv6's necks: from coarse to fine and back, over three or four levels; PANet, arXiv 1803.01534, figure 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.graph import Value
from app.engine.ir.module import Module

PATH = "yolov6.models.reppan"


@dataclass(frozen=True, slots=True)
class Levels:
    """What a neck calls its blocks on the way down to the finest map, and on the way up from it."""

    down: tuple[str, ...]
    up: tuple[str, ...]
    shrinking: tuple[str, ...]
    bidirectional: bool  # joins three neighbouring levels at a time, arXiv 2301.05586, figure 2 (a)

    def children(self) -> tuple[str, ...]:
        joints = ("Bifusion",) if self.bidirectional else ("upsample",)
        numbered = (f"{name}{number}" for name in ("reduce_layer", *joints) for number in range(len(self.down)))
        return (*self.down, *self.up, *self.shrinking, *numbered)


def rep_pan(levels: Levels) -> Describe:
    def describe(block: Block, sources: Sequence[Value], ops: Ops) -> list[Value]:
        """The maps of all levels, the finest first."""
        if len(sources) != len(levels.down) + 1 + levels.bidirectional:
            raise UnknownFlow(block.module.path, "structure-differs", f"it does not take {len(sources)} maps")
        *finer, x = sources
        lateral: list[Value] = []
        for number, name in enumerate(levels.down):
            lateral.append(getattr(block, f"reduce_layer{number}")(x))
            x = getattr(block, name)(_joined(block, number, lateral[-1], finer, levels, ops))
        found = [x]
        for shrink, name, beside in zip(levels.shrinking, levels.up, reversed(lateral), strict=True):
            x = getattr(block, name)(ops.concat([getattr(block, shrink)(x), beside]))
            found.append(x)
        return found

    return describe


def _joined(block: Block, number: int, x: Value, finer: Sequence[Value], levels: Levels, ops: Ops) -> Any:
    """A level, enlarged, with the next finer one; or with the next two."""
    if levels.bidirectional:
        return getattr(block, f"Bifusion{number}")([x, finer[-1 - number], finer[-2 - number]])
    return ops.concat([getattr(block, f"upsample{number}")(x), finer[-1 - number]])


def lite(block: Block, sources: Sequence[Value], ops: Ops) -> list[Value]:
    """All levels in one width, and one more that is coarser than the backbone's."""
    fine, middle, coarse = sources
    coarse, middle, fine = block.reduce_layer0(coarse), block.reduce_layer1(middle), block.reduce_layer2(fine)
    middle = block.Csp_p4(ops.concat([block.upsample0(coarse), middle]))
    fine = block.Csp_p3(ops.concat([block.upsample1(middle), fine]))
    middle = block.Csp_n3(ops.concat([block.downsample2(fine), middle]))
    last = block.Csp_n4(ops.concat([block.downsample1(middle), coarse]))
    return [fine, middle, last, ops.add(block.p6_conv_1(coarse), block.p6_conv_2(last))]


_LITE = (
    *("reduce_layer0", "reduce_layer1", "reduce_layer2", "upsample0", "upsample1", "downsample1", "downsample2"),
    *("Csp_p4", "Csp_p3", "Csp_n3", "Csp_n4", "p6_conv_1", "p6_conv_2"),
)
_THREE = (("Rep_p4", "Rep_p3"), ("Rep_n3", "Rep_n4"), ("downsample2", "downsample1"))
_FOUR = (
    ("Rep_p5", "Rep_p4", "Rep_p3"),
    ("Rep_n4", "Rep_n5", "Rep_n6"),
    ("downsample2", "downsample1", "downsample0"),
)


def _family(name: str, levels: Levels) -> Family:
    children = levels.children()

    def fits(module: Module) -> bool:
        """Quantisers that the class was told to call are not described."""
        return has_children(module, *children) and not module.attribute("_QUANT", False)

    return Family(f"YOLOv6 {name}", (f"{PATH}.{name}",), rep_pan(levels), fits)


FAMILIES = (
    *(_family(name, Levels(*_THREE, bidirectional=False)) for name in ("RepPANNeck", "CSPRepPANNeck")),
    *(_family(name, Levels(*_THREE, bidirectional=True)) for name in ("RepBiFPANNeck", "CSPRepBiFPANNeck")),
    *(_family(name, Levels(*_FOUR, bidirectional=False)) for name in ("RepPANNeck6", "CSPRepPANNeck_P6")),
    *(_family(name, Levels(*_FOUR, bidirectional=True)) for name in ("RepBiFPANNeck6", "CSPRepBiFPANNeck_P6")),
    Family("YOLOv6 Lite_EffiNeck", (f"{PATH}.Lite_EffiNeck",), lite, lambda module: has_children(module, *_LITE)),
)
