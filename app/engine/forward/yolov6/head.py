"""YOLOv6's decoupled heads: anchor-free; some have branches beside for training; arXiv 2209.02976, section 2.1."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from app.engine.forward.family import Family, PrunedLayer
from app.engine.forward.structure import has_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.ultralytics.decode import Sizes, cell_strides, centres
from app.engine.forward.ultralytics.heads import flat, level_shapes, sizes_of, stride_of
from app.engine.forward.yolov7.prune import nbytes
from app.engine.ir.graph import Value
from app.engine.ir.module import Module
from app.engine.ir.node import Global

PLAIN = Global("yolov6.models.effidehead", "Detect")
_DISTILLED = "yolov6.models.heads.effidehead_distill_ns.Detect"
_ANCHORED = "yolov6.models.heads.effidehead_fuseab.Detect"
_LITE = "yolov6.models.heads.effidehead_lite.Detect"
HEADS = (PLAIN.path, _DISTILLED, _ANCHORED, _LITE)
_LISTS = ("stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds")
# By class: what only training reads, and what is left to say once it is gone.
_FOR_TRAINING = {_DISTILLED: ("reg_preds_dist",), _ANCHORED: ("cls_preds_ab", "reg_preds_ab")}
_BINS = ("proj", "proj_conv")  # `use_dfl` reads them


def head(distributed: bool) -> Callable[[Block, Sequence[Value], Ops], Value]:
    """Whether the head may predict each side's distance as a distribution over bins (`use_dfl`)."""

    def describe(block: Block, maps: Sequence[Value], ops: Ops) -> Value:
        """(n, cells, 5 + classes): boxes by centre and size, ones in the place of objectness, class scores."""
        shared = [stem(x) for stem, x in zip(block.stems, maps, strict=True)]
        scores = [block.cls_preds[level](block.cls_convs[level](x)) for level, x in enumerate(shared)]
        sides = [block.reg_preds[level](block.reg_convs[level](x)) for level, x in enumerate(shared)]
        if distributed and block.use_dfl:
            sides = [_expected(block, x, ops) for x in sides]
        return ops.apply("boxes", boxes, flat(sides, ops), flat(scores, ops), stride_of(block), sizes_of(shared))

    return describe


def _expected(block: Block, sides: Value, ops: Ops) -> Value:
    """The expectation of each side's distance over its bins; arXiv 2006.04388, equation 4."""
    bins = ops.apply("bins", bins_of, sides, block.reg_max + 1)
    return ops.apply("sides", torch.squeeze, block.proj_conv(bins), 1)


def bins_of(x: Tensor, count: int) -> Tensor:
    """(n, 4 * count, h, w) to probabilities of (n, count, 4, h * w)."""
    return torch.unflatten(x.flatten(2), 1, (4, count)).transpose(1, 2).softmax(1)


def boxes(distances: Tensor, scores: Tensor, stride: Tensor, sizes: Sizes) -> Tensor:
    """(n, 4, cells) and (n, classes, cells) to boxes in pixels: a cell's centre less and plus its distances."""
    middle = centres(sizes, distances)
    low, high = middle - distances[:, :2], middle + distances[:, 2:]
    box = torch.cat(((low + high) / 2, high - low), 1) * cell_strides(stride, sizes).to(distances.dtype)
    return torch.cat((box, torch.ones_like(box[:, :1]), torch.sigmoid(scores)), 1).transpose(1, 2)


def reduce(module: Module) -> list[PrunedLayer]:
    """The branches that serve training go: what is left is the plain head, which computes the same."""
    gone = _FOR_TRAINING.get(module.class_path, ())
    removed = []
    for name in gone:
        branch = module.child(name)
        assert branch is not None
        reason = "a branch that serves training: inference does not read it"
        removed.append(PrunedLayer(branch.path, reason, nbytes(branch)))
        module.drop(name)
    if module.class_path == _DISTILLED:  # its other branch is the one with a distribution
        module.state["use_dfl"] = False
    if gone:
        module.set_class(PLAIN)
    return removed


def _fits(*more: str) -> Callable[[Module], bool]:
    def fits(module: Module) -> bool:
        """Told to prepare an export, it gives something else."""
        return has_children(module, *_LISTS, *more) and not module.attribute("export", False)

    return fits


def _family(read_as: str, path: str, distributed: bool, *more: str) -> Family:
    shapes = level_shapes("stems")
    return Family(
        f"YOLOv6 {read_as}",
        (path,),
        head(distributed),
        _fits(*more),
        example_shapes=shapes,
        idle=(*_BINS, *_FOR_TRAINING.get(path, ())),
    )


FAMILIES = (
    _family("Detect", PLAIN.path, True, "proj_conv"),
    _family("Detect (distilled)", _DISTILLED, False, "reg_preds_dist"),
    _family("Detect (anchor-aided)", _ANCHORED, True, "proj_conv", "cls_preds_ab", "reg_preds_ab"),
    _family("Detect (Lite)", _LITE, False),
)
