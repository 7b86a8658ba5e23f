"""What onnxruntime makes of a model, with everything that it would fuse or fold turned off."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile

_QUIET = 4  # fatal errors only: what it warns of is the file's business


class CannotRun(Exception):
    """The runtime has no kernel for something in the model, or is not installed."""


def run_onnx(model: Path, names: Sequence[str], inputs: Sequence[Tensor], device: str) -> list[Tensor]:
    """The outputs for these inputs, given in the order of `names`. Raises CannotRun."""
    return _run(str(model), {}, names, inputs, device)


def run_onnx_archive(archive: Path, names: Sequence[str], inputs: Sequence[Tensor], device: str) -> list[Tensor]:
    """The same for a model that was read with its external data: given from the mapped archive, never from a path."""
    from app.engine.formats.onnx import runnable  # onnx is an extra

    model, files = runnable(MappedFile(archive), Limits())
    return _run(model, {name: _view(found) for name, found in files.items()}, names, inputs, device)


def _view(part: FileBytes) -> memoryview:
    return memoryview(part.file.map)[part.offset : part.offset + part.nbytes]


def _run(
    model: str | bytes, files: Mapping[str, memoryview], names: Sequence[str], inputs: Sequence[Tensor], device: str
) -> list[Tensor]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: it would report to its makers
    try:
        import onnxruntime  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise CannotRun("onnxruntime is not installed") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others compute on these cores, too
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    try:
        if files:
            sizes = [len(view) for view in files.values()]
            options.add_external_initializers_from_files_in_memory(list(files), list(files.values()), sizes)
        session = onnxruntime.InferenceSession(model, options, providers=providers)
        kinds = {port.name: port.type for port in session.get_inputs()}
        feed: dict[str, Any] = {}
        for name, tensor in zip(names, inputs, strict=True):
            feed[name] = tensor.numpy().astype(_element(kinds[name]))
        return [torch.from_numpy(np.asarray(found)) for found in session.run(None, feed)]
    except Exception as error:  # the runtime's own exceptions share no base class but this
        raise CannotRun(str(error).splitlines()[0][:300]) from error


def _element(kind: str) -> type:
    """`tensor(float16)` as numpy says it. Raises KeyError for what numpy has no type for."""
    named = {"float": "float32", "double": "float64", "bool": "bool_"}
    inner = kind.removeprefix("tensor(").removesuffix(")")
    found: type = getattr(np, named.get(inner, inner))
    return found
