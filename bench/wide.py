"""A checkpoint of real width made from a narrow one: every channel count times a factor, weights seeded."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.engine.formats import read_file, write_file
from app.engine.ir.checkpoint import find_model, strip
from app.engine.ir.module import Module
from app.engine.ir.tensors import buffer, parameter

IMAGE_CHANNELS = 3


def widen_checkpoint(source: Path, target: Path, factor: int, dtype: torch.dtype, training: bool) -> None:
    """Write `source` (a YOLO checkpoint) `factor` times as wide; with `training`, an optimizer's momentum too."""
    file = read_file(source)
    found = find_model(file.root)
    optimizer = file.root.get("optimizer")
    strip(file.root, found)
    head = str(len(list(found.module.child("model").children())) - 1)  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    momentum = []
    for module in found.module.walk():
        for name, stored in list(module.tensors()):
            wide = _wide(module, name, stored.read(), factor, f"model.{head}." in f"{module.path}.", generator)
            momentum.append(wide.to(torch.float32))
            _put(module, name, wide.to(dtype) if wide.is_floating_point() else wide)
        _attributes(module, factor)
    if training and optimizer is not None:
        file.root["optimizer"] = {"state": {i: {"momentum_buffer": buffer(m)} for i, m in enumerate(momentum)}}
    write_file(file, file.root, target)


def _wide(module: Module, name: str, tensor: Tensor, factor: int, in_head: bool, generator: torch.Generator) -> Tensor:
    if name in ("anchors", "anchor_grid", "num_batches_tracked"):
        return tensor.clone()
    wide_out = factor if not in_head or module.class_path.endswith("ImplicitA") else 1
    axis = 1 if name == "implicit" else 0
    repeats = [1] * tensor.ndim
    if tensor.ndim:
        repeats[axis] = wide_out
    if name == "weight" and tensor.ndim == 4 and tensor.shape[1] != IMAGE_CHANNELS:
        repeats[1] = factor
    wide = tensor.to(torch.float32).repeat(repeats)
    if name == "weight" and tensor.ndim == 4:
        wide = wide / repeats[1] * (1 + 0.1 * torch.randn(wide.shape, generator=generator))
    return wide


def _put(module: Module, name: str, tensor: Tensor) -> None:
    table = "_parameters" if name in module.table("_parameters") else "_buffers"
    module.table(table)[name] = parameter(tensor) if table == "_parameters" else buffer(tensor)


def _attributes(module: Module, factor: int) -> None:
    weight = module.tensor("weight")
    if weight is None:
        return
    state: dict[str, Any] = module.state
    if "out_channels" in state:
        state["out_channels"], state["in_channels"] = weight.shape[0], weight.shape[1] * state.get("groups", 1)
    if "num_features" in state:
        state["num_features"] = weight.shape[0]
