"""The fuse step beside the ways others do it and the floor of touching every weight once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from app.engine import trees
from app.engine.formats import read_file
from app.engine.fuse.replace import apply
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const
from app.options import FuseOptions
from bench.measure import median_ms

RUNS = 7


@dataclass(frozen=True, slots=True)
class Pair:
    """A convolution and the batch norm that follows it, as the peers want them."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d


def fuse_step_table(source: Path, dtype: torch.dtype) -> list[tuple[str, float, str]]:
    """(name, median milliseconds, note) of ours, two peers and two floors, on the same weights in one run."""
    job = trees.read_from(read_file(source))
    plan = trees.plan(job, FuseOptions())
    convolutions = [
        node.operation
        for _, fusion in plan.fusions
        for node in fusion.trace.graph.nodes
        if isinstance(node.operation, ir.Conv)
    ]
    pairs = [pair for _, fusion in plan.fusions for pair in _pairs(fusion.trace.graph, dtype)]
    weights = [_tensor(operation.weight, dtype) for operation in convolutions]
    gains = [torch.rand(weight.shape[0], 1, 1, 1) + 0.5 for weight in weights]
    elements = sum(weight.numel() for weight in weights)
    return [
        ("ours: trace, fold, check, rewrite", _ours(source), f"{len(plan.fusions[0][1].replacements)} regions"),
        (
            "diagonal-matrix fold (YOLOv7's way)",
            _time(lambda: [_diagonal(pair) for pair in pairs]),
            f"{len(pairs)} pairs",
        ),
        (
            "torch.nn.utils.fuse_conv_bn_eval",
            _time(lambda: [nn.utils.fuse_conv_bn_eval(pair.conv, pair.norm) for pair in pairs]),
            f"{len(pairs)} pairs, known",
        ),
        ("floor: every weight once, own dtype", _time(lambda: _scaled(weights, gains)), f"{elements:,} weights"),
        ("floor: every weight once, through float64", _time(lambda: _scaled_double(weights, gains)), ""),
    ]


def _time(step: Callable[[], object]) -> float:
    with torch.no_grad():
        return median_ms(step, RUNS)


def _ours(source: Path) -> float:
    """Reading is outside; each run has a tree of its own, as the rewrite edits it. Its weights were touched before."""
    jobs = [trees.read_from(read_file(source)) for _ in range(RUNS + 1)]
    for job in jobs:
        for module in job.found.module.walk():
            for _, stored in module.tensors():
                stored.read()

    def step() -> None:
        job = jobs.pop()
        plan = trees.plan(job, FuseOptions())
        for _, fusion in plan.fusions:
            apply(fusion, job.found.module)

    return median_ms(step, RUNS)


def _tensor(const: Const | None, dtype: torch.dtype) -> Tensor:
    """A constant in memory of its own."""
    assert const is not None
    return const.value(torch.float32).to(dtype).clone()


def _pairs(graph: ir.Graph, dtype: torch.dtype) -> list[Pair]:
    found = []
    for node in graph.nodes:
        above = node.inputs[0].node if node.inputs else None
        conv = above.operation if above is not None else None
        if isinstance(node.operation, ir.BatchNorm) and isinstance(conv, ir.Conv) and conv.weight.compute is None:
            found.append(_pair(conv, node.operation, dtype))
    return found


def _pair(operation: ir.Conv, norm: ir.BatchNorm, dtype: torch.dtype) -> Pair:
    weight = _tensor(operation.weight, dtype)
    conv = nn.Conv2d(
        weight.shape[1] * operation.groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        groups=operation.groups,
        bias=False,
        dtype=dtype,
    )
    conv.weight = nn.Parameter(weight, requires_grad=False)
    batch_norm = nn.BatchNorm2d(weight.shape[0], eps=norm.eps, dtype=dtype)
    assert None not in (norm.mean, norm.var, norm.weight, norm.bias)
    batch_norm.running_mean, batch_norm.running_var = _tensor(norm.mean, dtype), _tensor(norm.var, dtype)
    batch_norm.weight = nn.Parameter(_tensor(norm.weight, dtype), requires_grad=False)
    batch_norm.bias = nn.Parameter(_tensor(norm.bias, dtype), requires_grad=False)
    return Pair(conv.eval(), batch_norm.eval())


def _diagonal(pair: Pair) -> tuple[Tensor, Tensor]:
    """The batch norm as a diagonal matrix, multiplied with the flattened kernel."""
    conv, norm = pair.conv, pair.norm
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = torch.diag(gain) @ conv.weight.flatten(1)
    return weight.reshape(conv.weight.shape), norm.bias - gain * norm.running_mean


def _scaled(weights: list[Tensor], gains: list[Tensor]) -> list[Tensor]:
    return [weight * gain.to(weight.dtype) for weight, gain in zip(weights, gains, strict=True)]


def _scaled_double(weights: list[Tensor], gains: list[Tensor]) -> list[Tensor]:
    return [(weight.double() * gain.double()).to(weight.dtype) for weight, gain in zip(weights, gains, strict=True)]
