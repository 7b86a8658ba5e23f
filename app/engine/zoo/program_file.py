"""A live model with its weights as a file that runs without the model's code: torch.export's .pt2, or ONNX."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from app.engine.verify.compare import tensors
from app.engine.zoo.export import Sizes, example, export_live
from app.errors import UnsupportedContent

_OPSET: Final = 18
_LARGEST_ONNX: Final = 2_000_000_000  # bytes that one protobuf message holds


def write_program(model: torch.nn.Module, sizes: Sequence[Sizes], kind: str, path: Path, name: str) -> None:
    """Write the model for the first of the input sizes (batch not counted) that it takes, and for any batch.

    Raises UnsupportedContent where its code can't be exported.
    """
    reason = ""
    for size in sizes:
        try:
            _write_onnx(model, size, path) if kind == "onnx" else torch.export.save(export_live(model, size), path)
        except UnsupportedContent:
            raise
        except Exception as error:  # whatever the package's code and the exporter make of it
            reason = reason or f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            continue
        return
    raise UnsupportedContent(
        f"{name} can't be exported as {kind}: {reason}",
        remedy="Leave output out: the weights come back as they are, fused.",
    )


def _write_onnx(model: torch.nn.Module, size: Sizes, path: Path) -> None:
    """By the exporter that follows a run of the model: it needs no further package, and leaves every norm as it is."""
    if sum(tensor.nbytes for tensor in model.state_dict().values()) > _LARGEST_ONNX:
        raise UnsupportedContent(
            "the model is larger than an ONNX file without external data can be", remedy="Ask for output=pt2."
        )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = example(model, size)
        names = _names(model(given))
        torch.onnx.export(
            model,
            (given,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["input"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("input", *names)},
        )


def _names(made: Any) -> list[str]:
    """What the outputs are called: as the model has them in a dictionary, else by number where there are several."""
    count = len(list(tensors(made)))
    if isinstance(made, Mapping) and len(made) == count:
        return [str(name) for name in made]
    return ["output"] if count == 1 else [f"output_{at}" for at in range(count)]
