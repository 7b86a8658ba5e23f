"""Writes a model as ONNX by torch's own exporters, told to fold nothing, and checks that every batch norm survived."""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from bench.graphs.calibrate import calibrate
from bench.graphs.models import Row

OPSETS = {"TorchScript": 17, "torch.export": 18, "torch.export, raw": 18}


def export(row: Row, build: Callable[[], nn.Module], path: Path) -> None:
    """The row's model with seeded weights, calibrated, as one file."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(row.name.encode()).digest()[:4], "big"))
    model = build()
    calibrate(model, row.shape)
    example = torch.randn(2, *row.shape[1:])
    calls = _norm_calls(model, example)
    write = _by_torch_script if row.exporter == "TorchScript" else _by_torch_export
    write(model, example, row, path)
    written = sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)
    if written != calls:
        raise RuntimeError(f"{row.name}: the model calls {calls} batch norms, the exporter wrote {written}")


def _by_torch_export(model: nn.Module, example: Tensor, row: Row, path: Path) -> None:
    """The exporter of today. Its optimiser would fold batch norms: of that, constant folding alone, or nothing."""
    name = next(iter(inspect.signature(model.forward).parameters))
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        optimize=False,
        opset_version=OPSETS[row.exporter],
        input_names=["input"],
        dynamic_shapes={name: dict.fromkeys(row.dynamic, torch.export.Dim.DYNAMIC)},
        verbose=False,
    )
    assert program is not None
    if row.exporter == "torch.export":
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    program.save(path, external_data=False)


def _by_torch_script(model: nn.Module, example: Tensor, row: Row, path: Path) -> None:
    """The exporter that wrote most of the files in the wild. PRESERVE keeps it from folding batch norms."""
    outputs = model(example)
    names = ["output"] if isinstance(outputs, Tensor) else [f"output_{i}" for i in range(len(outputs))]
    axes = {axis: f"axis_{axis}" for axis in row.dynamic}
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=OPSETS[row.exporter],
        input_names=["input"],
        output_names=names,
        dynamic_axes={"input": axes},
    )


def _norm_calls(model: nn.Module, example: Tensor) -> int:
    """How often a batch norm is called in one forward: a shared head calls one for each level."""
    calls: list[nn.Module] = []
    hooks = [
        m.register_forward_hook(lambda module, *_: calls.append(module))
        for m in model.modules()
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return len(calls)
