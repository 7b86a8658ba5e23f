"""YOLOv7's bottlenecks, cross-stage-partial blocks (arXiv 1911.11929), spatial pyramid pooling and stems."""

from typing import Any

from app.engine.forward.family import Describe, Family
from app.engine.forward.structure import has_children, maps
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def bottleneck(block: Block, x: Value, ops: Ops) -> Value:
    """Two convolutions, with a shortcut where the widths allow it."""
    return _with_shortcut(block, x, block.cv2(block.cv1(x)), ops)


def res(block: Block, x: Value, ops: Ops) -> Value:
    """Three convolutions, with a shortcut where the widths allow it; arXiv 1512.03385, figure 5."""
    return _with_shortcut(block, x, block.cv3(block.cv2(block.cv1(x))), ops)


def _with_shortcut(block: Block, x: Value, y: Value, ops: Ops) -> Value:
    return ops.add(x, y) if block.add else y


def csp_a(block: Block, x: Value, ops: Ops) -> Any:
    """Two paths from the input, one of them through the inner blocks."""
    joined = ops.concat([block.m(block.cv1(x)), block.cv2(x)])
    return block.cv3(joined)


def csp_b(block: Block, x: Value, ops: Ops) -> Any:
    """One convolution first, then two paths from it."""
    shared = block.cv1(x)
    return block.cv3(ops.concat([block.m(shared), block.cv2(shared)]))


def csp_c(block: Block, x: Value, ops: Ops) -> Any:
    """As A, with a convolution after the inner blocks."""
    joined = ops.concat([block.cv3(block.m(block.cv1(x))), block.cv2(x)])
    return block.cv4(joined)


def spp(block: Block, x: Value, ops: Ops) -> Any:
    """Max pools of several sizes side by side; arXiv 1406.4729."""
    return block.cv2(_pyramid(block, block.cv1(x), ops))


def sppf(block: Block, x: Value, ops: Ops) -> Any:
    """The same max pool one, two and three times."""
    scales = [block.cv1(x)]
    for _ in range(3):
        scales.append(block.m(scales[-1]))
    return block.cv2(ops.concat(scales))


def spp_csp(block: Block, x: Value, ops: Ops) -> Any:
    """A pyramid of max pools in one of two paths."""
    narrow = block.cv4(block.cv3(block.cv1(x)))
    pooled = block.cv6(block.cv5(_pyramid(block, narrow, ops)))
    return block.cv7(ops.concat([pooled, block.cv2(x)]))


def _pyramid(block: Block, x: Value, ops: Ops) -> Value:
    return ops.concat([x, *(pool(x) for pool in block.m)])


def stem(block: Block, x: Value, ops: Ops) -> Any:
    """A strided convolution, then two ways to halve its map side by side."""
    first = block.cv1(x)
    return block.cv4(ops.concat([block.cv3(block.cv2(first)), block.pool(first)]))


def down(block: Block, x: Value, ops: Ops) -> Value:
    """A strided convolution and a max pool side by side."""
    return ops.concat([block.cv2(block.cv1(x)), block.cv3(block.mp(x))])


def _families(describe: Describe, children: tuple[str, ...], *paths: str, multiple: int = 1) -> tuple[Family, ...]:
    def fits(module: Module) -> bool:
        return has_children(module, *children)

    return tuple(
        Family(f"YOLOv7 {path.rpartition('.')[2]}", (path,), describe, fits, example_shapes=maps(multiple))
        for path in paths
    )


def _csp(letter: str) -> tuple[str, ...]:
    kinds = ("Bottleneck", "Res", "ResX", "Ghost", "RepBottleneck", "RepRes", "RepResX", "ST", "ST2")
    return tuple(f"models.common.{kind}CSP{letter}" for kind in kinds)


FAMILIES = (
    *_families(
        bottleneck,
        ("cv1", "cv2"),
        "models.common.Bottleneck",
        "models.common.RepBottleneck",
        "models.experimental.CrossConv",
        "models.common.CrossConv",
    ),
    *_families(
        res,
        ("cv1", "cv2", "cv3"),
        *(f"models.common.{name}" for name in ("Res", "ResX", "RepRes", "RepResX")),
    ),
    *_families(csp_a, ("cv1", "cv2", "cv3", "m"), *_csp("A")),
    *_families(csp_b, ("cv1", "cv2", "cv3", "m"), *_csp("B")),
    *_families(csp_c, ("cv1", "cv2", "cv3", "cv4", "m"), *_csp("C")),
    *_families(spp, ("cv1", "cv2", "m"), "models.common.SPP"),
    *_families(sppf, ("cv1", "cv2", "m"), "models.common.SPPF"),
    *_families(
        spp_csp,
        ("cv1", "cv2", "cv3", "cv4", "cv5", "cv6", "cv7", "m"),
        "models.common.SPPCSPC",
        "models.common.GhostSPPCSPC",
    ),
    *_families(stem, ("cv1", "cv2", "cv3", "cv4", "pool"), "models.common.Stem", "models.common.GhostStem", multiple=4),
    *_families(down, ("cv1", "cv2", "cv3", "mp"), "models.common.DownC", multiple=4),
)
