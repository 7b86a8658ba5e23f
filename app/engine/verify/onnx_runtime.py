"""What onnxruntime makes of a model, with everything that it would fuse or fold turned off; and how fast it runs one.

For its speed it may do what it does by default: that is what a user's own session does.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile

# A session, to be given inputs by name and then run as often as one likes.
Ready = Callable[[Sequence[str], Sequence[Tensor]], Callable[[], object]]

_QUIET = 4  # fatal errors only: what it warns of is the file's business


class CannotRun(Exception):
    """The runtime has no kernel for something in the model, or is not installed."""


def run_onnx(model: Path, names: Sequence[str], inputs: Sequence[Tensor], device: str) -> list[Tensor]:
    """The outputs for these inputs, given in the order of `names`. Raises CannotRun."""
    return _run(_opened(str(model), {}, device), names, inputs)


def run_onnx_archive(archive: Path, names: Sequence[str], inputs: Sequence[Tensor], device: str) -> list[Tensor]:
    """The same for a model that was read with its external data: given from the mapped archive, never from a path."""
    return _run(_opened(*_unpacked(archive), device), names, inputs)


def ready_onnx(model: Path, device: str) -> Ready:
    """The model in a session with the runtime's default optimisations. Raises CannotRun."""
    return _ready(_opened(str(model), {}, device, optimised=True))


def ready_onnx_archive(archive: Path, device: str) -> Ready:
    """The same for a model with its external data. Raises CannotRun."""
    return _ready(_opened(*_unpacked(archive), device, optimised=True))


def runtime_name() -> str:
    """Which one it is."""
    return f"onnxruntime {version('onnxruntime')}"


def _ready(session: Any) -> Ready:
    def bound(names: Sequence[str], inputs: Sequence[Tensor]) -> Callable[[], object]:
        feed = _feed(session, names, inputs)
        return lambda: session.run(None, feed)

    return bound


def _unpacked(archive: Path) -> tuple[bytes, dict[str, memoryview]]:
    from app.engine.formats.onnx import runnable  # onnx is an extra

    model, files = runnable(MappedFile(archive), Limits())
    return model, {name: _view(found) for name, found in files.items()}


def _view(part: FileBytes) -> memoryview:
    return memoryview(part.file.map)[part.offset : part.offset + part.nbytes]


def _opened(model: str | bytes, files: Mapping[str, memoryview], device: str, optimised: bool = False) -> Any:
    """A session. Raises CannotRun."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: it would report to its makers
    try:
        import onnxruntime  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise CannotRun("onnxruntime is not installed") from error
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others compute on these cores, too
    providers = providers_for(device, onnxruntime.get_available_providers(), optimised=optimised)
    try:
        if files:
            sizes = [len(view) for view in files.values()]
            options.add_external_initializers_from_files_in_memory(list(files), list(files.values()), sizes)
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # the runtime's own exceptions share no base class but this
        raise _cannot(error) from error


def providers_for(device: str, available: Sequence[str], *, optimised: bool) -> list[Any]:
    """Who computes: CUDA on that device where this onnxruntime has it. It may use TF32 only where speed is measured."""
    if device == "cpu" or "CUDAExecutionProvider" not in available:
        return ["CPUExecutionProvider"]
    options = {"device_id": int(device.partition(":")[2] or 0), "use_tf32": int(optimised)}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _run(session: Any, names: Sequence[str], inputs: Sequence[Tensor]) -> list[Tensor]:
    try:
        return [torch.from_numpy(np.asarray(found)) for found in session.run(None, _feed(session, names, inputs))]
    except Exception as error:
        raise _cannot(error) from error


def _feed(session: Any, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, Any]:
    kinds = {port.name: port.type for port in session.get_inputs()}
    return {name: tensor.numpy().astype(_element(kinds[name])) for name, tensor in zip(names, inputs, strict=True)}


def _cannot(error: Exception) -> CannotRun:
    return CannotRun(next(iter(str(error).splitlines()), type(error).__name__)[:300])


def _element(kind: str) -> type:
    """`tensor(float16)` as numpy says it. Raises KeyError for what numpy has no type for."""
    named = {"float": "float32", "double": "float64", "bool": "bool_"}
    inner = kind.removeprefix("tensor(").removesuffix(")")
    found: type = getattr(np, named.get(inner, inner))
    return found
