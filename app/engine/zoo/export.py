"""The data flow of a live model of an installed package: torch.export follows it, our own reader reads what it says.

No weight is read or written: the program names them, and whoever has a file's tensors puts these in their places.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch._export.serde import serialize

from app.engine.formats.pt2.document import read_document
from app.engine.formats.pt2.payloads import Payload
from app.engine.forward.aten import follow, misfit
from app.engine.forward.aten.ports import user_tensors
from app.engine.ir.exported import Exported
from app.engine.ir.program import Program
from app.engine.ir.tensors import in_memory
from app.errors import UnsupportedContent

Sizes = tuple[int, ...]
_BATCH: Final = 2


@dataclass(frozen=True, slots=True)
class Flow:
    """What a model computes, and within which modules (outermost first) each of its operators runs, by owner."""

    exported: Exported
    shapes: Mapping[str, Sizes]
    stacks: Mapping[str, tuple[str, ...]]

    def program(self, batch: int | None = None) -> Program:
        """The graph at these shapes of the inputs; at another batch size where the program takes any."""
        if batch is None:
            return follow(self.exported, self.shapes)
        shapes = {name: (batch, *shape[1:]) for name, shape in self.shapes.items()}
        wrong = misfit(self.exported, shapes)
        if wrong is not None:
            raise UnsupportedContent(f"its code takes other batch sizes: {wrong}")
        return follow(self.exported, shapes)


def exported(model: torch.nn.Module, sizes: Sequence[Sizes], name: str) -> Flow:
    """The flow of `model` from an input of the first of these sizes (batch not counted) that it takes.

    Raises UnsupportedContent where torch.export can't follow the model's code.
    """
    reason = ""
    for size in sizes:
        try:
            program = export_live(model, size)
        except Exception as error:  # whatever the package's code and the exporter make of it
            reason = (
                reason or f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"
            )
            continue
        return _flow(program, size)
    raise UnsupportedContent(
        f"torch.export can't follow the code of {name}: {reason}",
        remedy="Upload the whole model, or an ONNX or .pt2 file of it, instead of a state dict.",
    )


def export_live(model: torch.nn.Module, size: Sizes) -> torch.export.ExportedProgram:
    """The program of `model`, for any batch where its code allows that."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, (example(model, size),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


def example(model: torch.nn.Module, size: Sizes) -> torch.Tensor:
    """An input of that size in the dtype of the model's weights."""
    dtype = next((one.dtype for one in model.parameters() if one.dtype.is_floating_point), torch.float32)
    return torch.zeros((_BATCH, *size), dtype=dtype)


def _flow(program: torch.export.ExportedProgram, size: Sizes) -> Flow:
    own = {name: in_memory(held) for name, held in _held(program).items()}
    parameters = set(program.graph_signature.parameters)
    document = _document(program)
    payloads = {name: Payload("", name, name in parameters, tensor, {}) for name, tensor in own.items()}
    found = read_document(document, payloads)
    shapes = {name: (_BATCH, *size) for name, _ in user_tensors(found)}
    return Flow(found, shapes, _stacks(document["graph_module"]["graph"]["nodes"]))


def _held(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Every weight that the program reads, and what the model has of its own beside its state dict."""
    own: dict[str, Any] = {**program.state_dict, **program.constants}
    return {name: value for name, value in own.items() if isinstance(value, torch.Tensor)}


def _document(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """The program's JSON. The serializer copies all weights: it is given ones that take no memory."""
    for name, tensor in list(program.state_dict.items()):
        hollow = tensor.new_zeros(()).expand(tensor.shape)
        wrapped = torch.nn.Parameter(hollow, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else hollow
        program.state_dict[name] = wrapped
    held = serialize.ExportedProgramSerializer(None).serialize(program).exported_program
    plain = serialize._dataclass_to_dict(held)  # type: ignore[no-untyped-call]  # torch gives it no types
    text = json.dumps(plain, cls=serialize.EnumEncoder, allow_nan=False)
    document: dict[str, Any] = json.loads(text)
    return document


def _stacks(nodes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Paths of the modules that an operator runs in, by the name of its first output; `key,path,class` in the file."""
    found = {}
    for node in nodes:
        entries = node["metadata"].get("nn_module_stack", "").split(";")
        paths = tuple(entry.split(",")[1] for entry in entries if entry.count(",") >= 2)
        for output in node["outputs"]:
            for name in _names(output):
                found[name] = paths
    return found


def _names(output: Any) -> list[str]:
    """The names of tensors within an argument."""
    if isinstance(output, dict):
        own = [output["name"]] if isinstance(output.get("name"), str) else []
        return own + [name for part in output.values() for name in _names(part)]
    return [name for part in output for name in _names(part)] if isinstance(output, list) else []
