"""Records that torch.save wrote, read by the bounded pickle machine: example inputs, and the weights of torch 2.8."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes
from app.engine.formats.pt2.record_file import RecordFile
from app.engine.formats.torch_file import TorchFile
from app.engine.formats.torch_zip import read_torch_zip
from app.engine.ir.module import mapping
from app.engine.ir.tensors import tensor_of
from app.errors import MalformedFile, UnsafeGlobals, UnsupportedContent

_MAX_SAMPLES: Final = 512 << 20
# Plain tensors, containers and the stand-ins of programs that were exported on fake tensors.
_PLAIN: Final = frozenset(
    {
        *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter"),
        *("collections.OrderedDict", "__builtin__.slice", "builtins.slice", "__builtin__.complex", "builtins.complex"),
        *("torch.Size", "torch.device", "torch.storage.UntypedStorage"),
        "torch._export.serde.serialize._reconstruct_fake_tensor",
    }
)


def check_samples(record: FileBytes | None, limits: Limits) -> None:
    """UnsupportedContent if the example inputs name anything but tensors: torch would import and call it."""
    if record is None or record.nbytes == 0:
        return
    check_limit("bytes of the example inputs", record.nbytes, _MAX_SAMPLES)
    _refuse_foreign(
        read_torch_zip(RecordFile(record), limits),
        "example inputs",
        "Save the program without them: exported.example_inputs = None, then torch.export.save(exported, path).",
    )


def read_weights(record: FileBytes, what: str, limits: Limits) -> tuple[TorchFile, Mapping[str, Any]]:
    """The file and its tensor nodes by path. Raises UnsupportedContent for anything but plain tensors."""
    found = read_torch_zip(RecordFile(record), limits)
    _refuse_foreign(found, what, "Export the model without custom objects and tensor subclasses.")
    nodes = mapping(found.root)
    if nodes is None or not all(isinstance(path, str) for path in nodes):
        raise MalformedFile(f"the {what} of the program are no table of tensors by name")
    strange = sorted(path for path, node in nodes.items() if tensor_of(node) is None)
    if strange:
        raise UnsupportedContent(
            f"the {what} of the program hold objects that are no plain tensors: {', '.join(strange)[:1000]}",
            remedy="Export the model with its real weights, and without custom objects.",
            names=strange[:12],
        )
    return found, nodes


def _refuse_foreign(found: TorchFile, what: str, remedy: str) -> None:
    foreign = [name for name in found.globals if name not in _PLAIN and not _is_torch_value(name)]
    if foreign:
        raise UnsafeGlobals(
            f"the {what} in the file hold objects of other kinds than tensors: {', '.join(foreign)[:1000]}",
            remedy=f"torch.export.load would run their code. {remedy}",
            names=foreign[:12],
        )


def _is_torch_value(name: str) -> bool:
    """A storage class or a dtype: names that stand for values and are not called."""
    module, _, inner = name.rpartition(".")
    return module == "torch" and (inner.endswith("Storage") or isinstance(getattr(torch, inner, None), torch.dtype))
