"""RepLKNet's blocks, stages and the whole model; arXiv 2203.06717, figure 4."""

from collections.abc import Mapping
from typing import Any

from app.engine.forward.averaged import averages, normed_average
from app.engine.forward.family import Family, Members, Shapes
from app.engine.forward.stochastic_depth import kept
from app.engine.forward.structure import has_children, input_channels, maps, out_features
from app.engine.forward.trace import Block, Ops
from app.engine.ir.graph import Value
from app.engine.ir.module import Module


def large_kernel_block(block: Block, x: Value, ops: Ops) -> Value:
    """x + pw2(nonlinearity(large kernel(pw1(norm(x)))))"""
    y = block.pw1(block.prelkb_bn(x))
    y = block.pw2(block.lk_nonlinear(block.large_kernel(y)))
    return ops.add(x, kept(block, "drop_path", y))


def conv_ffn(block: Block, x: Value, ops: Ops) -> Value:
    """x + pw2(nonlinearity(pw1(norm(x))))"""
    y = block.pw2(block.nonlinear(block.pw1(block.preffn_bn(x))))
    return ops.add(x, kept(block, "drop_path", y))


def stage(block: Block, x: Value, ops: Ops) -> Value:
    for inner in block.blocks:
        x = inner(x)
    return x


def model(block: Block, image: Any, ops: Ops) -> Any:
    """Stem, stages with transitions between them, and a classifier; or the maps that `out_indices` lists."""
    x = image
    for layer in block.stem:
        x = layer(x)
    maps_asked, last = [], block.num_stages - 1
    for index in range(block.num_stages):
        x = block.stages[index](x)
        if block.out_indices is not None and index in block.out_indices:
            maps_asked.append(block.stages[index].norm(x))
        if index < last:
            x = block.transitions[index](x)
    if block.out_indices:
        return maps_asked
    return block.head(normed_average(block.norm, block.avgpool, x, ops))


def _fits(module: Module) -> bool:
    count = module.attribute("num_stages", None)
    stages, transitions = module.child("stages"), module.child("transitions")
    if type(count) is not int or stages is None or transitions is None or not has_children(module, "stem"):
        return False
    lengths = [sum(1 for _ in part.children()) for part in (stages, transitions)]
    asked = module.attribute("out_indices", None)
    classifies = has_children(module, "norm", "head") and averages(module.child("avgpool"))
    ends = asked or (asked is None and classifies)
    return bool(ends) and lengths == [count, count - 1] and isinstance(asked, (list, tuple, type(None)))


def _shapes(module: Module) -> Shapes | None:
    """The stem divides by four, each transition by two; not square."""
    taken = input_channels(module)
    stride = 4 << max(0, module.attribute("num_stages") - 1)
    return None if taken is None or stride > 1 << 10 else ((2, taken[0], 2 * stride, 3 * stride),)


def _facts(module: Module) -> Mapping[str, Any]:
    known: dict[str, Any] = {"family": "RepLKNet", "stride": 4 << max(0, module.attribute("num_stages") - 1)}
    taken, classes = input_channels(module), out_features(module.child("head"))
    known.update({"channels": taken[0]} if taken else {})
    known.update({"classes": classes} if classes is not None else {})
    return known


_BLOCK = ("pw1", "pw2", "large_kernel", "lk_nonlinear", "prelkb_bn", "drop_path")
_LISTS = ("stem", "stages", "transitions")
_FFN = ("drop_path", "preffn_bn", "pw1", "pw2", "nonlinear")

FAMILIES = (
    Family(
        "RepLKNet RepLKBlock",
        ("replknet.RepLKBlock",),
        large_kernel_block,
        lambda module: has_children(module, *_BLOCK),
        example_shapes=maps(),
        members=Members(_BLOCK),
    ),
    Family(
        "RepLKNet ConvFFN",
        ("replknet.ConvFFN",),
        conv_ffn,
        lambda module: has_children(module, *_FFN),
        example_shapes=maps(),
        members=Members(_FFN),
    ),
    Family(
        "RepLKNet RepLKNetStage",
        ("replknet.RepLKNetStage",),
        stage,
        lambda module: has_children(module, "blocks"),
        example_shapes=maps(),
        members=Members(("use_checkpoint", "blocks", "norm")),
        idle=("norm",),  # of maps that nobody asks for
    ),
    Family(
        "RepLKNet RepLKNet",
        ("replknet.RepLKNet",),
        model,
        _fits,
        example_shapes=_shapes,
        facts=_facts,
        members=Members(
            ("out_indices", "use_checkpoint", "norm_intermediate_features", "num_stages", *_LISTS),
            ("norm", "avgpool", "head"),
        ),
        idle=("norm", "avgpool", "head"),  # where maps are asked for
    ),
)
