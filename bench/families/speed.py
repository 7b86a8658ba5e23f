"""The fuse step on whole models in one thread: ours, timm's, torch.fx's, and the floors of touching every weight once.

Ours is what lies between a file that was read and one that is written: trace, plan, fold, check, edit the tree. Its
weights are mapped and were touched before. The peers get models in memory; those that work in place get a copy that is
made before the clock starts. All take turns in one process, so that a busy machine is busy for each of them.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.utils.model import reparameterize_model
from torch import nn
from torch.fx.experimental import optimization

from app.engine import fuse_checkpoint, state_dicts, trees
from app.engine.formats import read_file
from app.engine.formats.detect import TORCH_ZIP
from app.engine.fuse.census import count
from app.engine.fuse.replace import apply
from app.engine.ir.module import Module
from app.engine.weights.container import Container
from app.engine.weights.opening import open_checkpoint
from app.engine.work import Plan
from app.options import FuseOptions
from bench.families.left import randomised
from bench.measure import Sample, Step, medians

MODELS = ("timm/repvgg_b1", "timm/mobileone_s1", "torchvision/resnet50")
OURS = "ours, pickled module"
_RUNS = 5
_MAKERS: Mapping[str, Callable[[str], nn.Module]] = {
    "timm": timm.create_model,
    "torchvision": torchvision.models.get_model,
}
_Contenders = Mapping[str, Callable[[], Step]]


def print_speeds(name: str) -> None:
    samples, left = times(name)
    ours = samples[OURS]
    print(f"fuse step, {name}, one thread, medians of {_RUNS} runs in turns")
    print("   wall ms     cpu ms   peak MiB  ours / this (cpu)  norms left")
    for what, sample in samples.items():
        figures = f"{sample.wall:10.1f} {sample.cpu:10.1f} {sample.peak:10.0f} {ours.cpu / sample.cpu:18.2f}"
        print(f"{figures} {left.get(what, ''):>11}  {what}", flush=True)


def times(name: str) -> tuple[dict[str, Sample], dict[str, int]]:
    """Medians by contender, and how many batch norms each leaves, where it makes a model."""
    torch.manual_seed(0)
    package, _, short = name.partition("/")
    model = randomised(_MAKERS[package](short))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        module, weights = Path(folder) / "model.pt", Path(folder) / "weights.pth"
        torch.save(model, module)
        torch.save(model.state_dict(), weights)
        steps = {**_ours(module, weights, name), **_peers(model), **_jobs(module, model), **_floors(model)}
        return medians(steps, _RUNS), _norms_left(steps)


def _ours(module: Path, weights: Path, name: str) -> _Contenders:
    options = FuseOptions(architecture=name)
    container = open_checkpoint(weights, TORCH_ZIP, lambda file: None)
    assert isinstance(container, Container)

    def of_module() -> Step:
        job = trees.read_from(read_file(module), FuseOptions())
        return _touched(job.found.module, lambda: trees.plan(job, FuseOptions()))

    def of_weights() -> Step:
        job = state_dicts.read_from(container, options)
        return _touched(job.blueprint.module, lambda: state_dicts.plan(job, options))

    return {OURS: of_module, "ours, state dict": of_weights}


def _touched(root: Module, planned: Callable[[], Plan]) -> Step:
    """The step on a tree whose every page was read before."""
    for module in root.walk():
        for _, stored in module.tensors():
            stored.read().sum()

    def step() -> Module:
        for _, fusion in planned().fusions:
            apply(fusion, root)
        return root

    return step


def _peers(model: nn.Module) -> _Contenders:
    """The ways that fuse a module; timm's where it has a block for it."""
    ways: dict[str, Callable[[nn.Module, bool], nn.Module]] = {
        "torch.fx fuse": lambda one, inplace: optimization.fuse(one, inplace=inplace)
    }
    if any(hasattr(part, "reparameterize") for part in model.modules()):
        ways["timm reparameterize_model"] = lambda one, inplace: reparameterize_model(one, inplace=inplace)
    found: dict[str, Callable[[], Step]] = {}
    for name, way in ways.items():
        found[name] = lambda way=way: lambda: way(model, False)
        found[f"{name}, in place"] = lambda way=way: _on_copy(model, lambda one: way(one, True))
    return found


def _on_copy(model: nn.Module, way: Callable[[nn.Module], nn.Module]) -> Step:
    one = copy.deepcopy(model)
    return lambda: way(one)


def _jobs(module: Path, model: nn.Module) -> _Contenders:
    """From file to file: ours without its proof, and the fastest peer that makes a file of the same kind."""
    target = module.with_name("fused.pt")

    def ours() -> object:
        return fuse_checkpoint(module, target, FuseOptions(), filename="model.pt", sha256="0" * 64, verify=False)

    def timms() -> None:
        torch.save(reparameterize_model(torch.load(module, weights_only=False), inplace=True), target)

    def copied() -> None:
        torch.save(torch.load(module, weights_only=False), target)

    found: dict[str, Step] = {"whole job: ours, with report, unproved": ours}
    if any(hasattr(part, "reparameterize") for part in model.modules()):
        found["whole job: torch.load, timm in place, torch.save"] = timms
    found["whole job: torch.load, torch.save"] = copied
    return {name: lambda step=step: step for name, step in found.items()}


def _floors(model: nn.Module) -> _Contenders:
    pairs = list(_pairs(model))
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Conv2d)]
    gains = [torch.rand(weight.shape[0], 1, 1, 1) + 0.5 for weight in weights]
    both = list(zip(weights, gains, strict=True))
    floors: dict[str, Step] = {
        f"floor: fuse_conv_bn_eval of {len(pairs)} known pairs": lambda: [
            nn.utils.fuse_conv_bn_eval(conv, norm) for conv, norm in pairs
        ],
        "floor: every weight once, in place": lambda: [weight.mul_(gain) for weight, gain in both],
        "floor: every weight once": lambda: [weight * gain for weight, gain in both],
        "floor: every weight once, through float64": lambda: [
            (weight.double() * gain.double()).float() for weight, gain in both
        ],
    }
    return {name: lambda step=step: step for name, step in floors.items()}


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the batch norm that its module names next."""
    for part in model.modules():
        for conv, norm in pairwise(part.children()):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield conv, norm


def _norms_left(steps: _Contenders) -> dict[str, int]:
    found = {}
    for name, prepared in steps.items():
        made: Any = prepared()() if "floor" not in name and "whole" not in name else None
        if isinstance(made, Module):
            found[name] = count(made).batch_norms
        elif isinstance(made, nn.Module):
            found[name] = sum(isinstance(part, nn.BatchNorm2d) for part in made.modules())
    return found
