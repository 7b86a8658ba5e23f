"""The fuse step on whole models in one thread: ours, timm's, torch.fx's, and the floors of touching every weight once.

Ours is what lies between a file that was read and one that is written: plan, fold, check, rewrite the tree. The peers
get models in memory; those that work in place get a copy that is made before the clock starts.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.fx.experimental import optimization

from app.engine import state_dicts, trees
from app.engine.formats.detect import TORCH_ZIP
from app.engine.fuse.replace import apply
from app.engine.weights.container import Container
from app.engine.weights.opening import open_checkpoint
from app.options import FuseOptions
from bench.families.left import randomised
from bench.measure import median_ms

MODELS = ("repvgg_b1", "mobileone_s1", "resnet50")
_RUNS = 5


def times(name: str) -> Iterator[tuple[str, float]]:
    """(what, median milliseconds)"""
    torch.manual_seed(0)
    model = randomised(timm.create_model(name))
    with tempfile.TemporaryDirectory() as folder:
        module, weights = Path(folder) / "model.pt", Path(folder) / "weights.pth"
        torch.save(model, module)
        torch.save(model.state_dict(), weights)
        jobs = [trees.read(module, FuseOptions()) for _ in range(_RUNS + 1)]
        yield from _ours_of_modules(jobs)
        yield from _ours_of_weights(weights, name)
    yield "timm reparameterize_model, in place", _each(model, lambda one: reparameterize_model(one, inplace=True))
    yield "timm reparameterize_model", _time(lambda: reparameterize_model(model))
    yield "torch.fx fuse", _time(lambda: optimization.fuse(model))
    yield "torch.fx fuse, in place", _each(model, lambda one: optimization.fuse(one, inplace=True))
    convolutions = [part.weight for part in model.modules() if isinstance(part, nn.Conv2d)]
    gains = [torch.rand(weight.shape[0], 1, 1, 1) + 0.5 for weight in convolutions]
    pairs = list(zip(convolutions, gains, strict=True))
    yield "floor: every weight once, in place", _time(lambda: [weight.mul_(gain) for weight, gain in pairs])
    yield "floor: every weight once", _time(lambda: [weight * gain for weight, gain in pairs])
    yield (
        "floor: every weight once, through float64",
        _time(lambda: [(weight.double() * gain.double()).float() for weight, gain in pairs]),
    )


def _ours_of_modules(jobs: list[trees.Job]) -> Iterator[tuple[str, float]]:
    for job in jobs:
        _touch(job.found.module)
    left: list[int] = []

    def step() -> None:
        job = jobs.pop()
        for _, fusion in trees.plan(job, FuseOptions()).fusions:
            apply(fusion, job.found.module)
        left.append(trees.count(job.found.module).batch_norms)

    found = median_ms(step, _RUNS)
    yield f"ours, pickled module ({left[-1]} norms left)", found


def _ours_of_weights(weights: Path, name: str) -> Iterator[tuple[str, float]]:
    options = FuseOptions(architecture=f"timm/{name}")
    container = open_checkpoint(weights, TORCH_ZIP)
    assert isinstance(container, Container)
    jobs = [state_dicts.read_from(container, options) for _ in range(_RUNS + 1)]

    def step() -> None:
        job = jobs.pop()
        for _, fusion in state_dicts.plan(job, options).fusions:
            apply(fusion, job.blueprint.module)

    yield "ours, state dict", median_ms(step, _RUNS)


def _touch(root: trees.Module) -> None:
    for module in root.walk():
        for _, stored in module.tensors():
            stored.read().sum()


def _each(model: nn.Module, step: Callable[[nn.Module], object]) -> float:
    """The step on copies, each used once."""
    copies = [copy.deepcopy(model) for _ in range(_RUNS + 1)]
    return _time(lambda: step(copies.pop()))


def _time(step: Callable[[], object]) -> float:
    with torch.no_grad():
        return median_ms(step, _RUNS)
