"""The example inputs of an exported program: a torch pickle in a record, copied as it is if it holds only tensors."""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.formats.limits import Limits, check_limit
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.torch_zip import read_torch_zip
from app.errors import UnsupportedContent

_MAX_BYTES: Final = 512 << 20
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
    """UnsupportedContent if the pickle names anything but tensors: torch.export.load would import and call it."""
    if record is None or record.nbytes == 0:
        return
    check_limit("bytes of the example inputs", record.nbytes, _MAX_BYTES)
    found = read_torch_zip(_Held(record.read()), limits)
    foreign = [name for name in found.globals if name not in _PLAIN and not _is_torch_value(name)]
    if foreign:
        raise UnsupportedContent(
            f"the example inputs in the file hold objects of other kinds than tensors: {', '.join(foreign)[:1000]}",
            remedy="torch.export.load would run their code. Save the program without them: "
            "exported.example_inputs = None, then torch.export.save(exported, path).",
            names=foreign[:12],
        )


def _is_torch_value(name: str) -> bool:
    """A storage class or a dtype: names that stand for values and are not called."""
    module, _, inner = name.rpartition(".")
    return module == "torch" and (inner.endswith("Storage") or isinstance(getattr(torch, inner, None), torch.dtype))


class _Held(MappedFile):
    """The bytes of a record as a file of its own."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.map: Any = content

    def tensor(self, offset: int, nbytes: int) -> Tensor:
        return torch.frombuffer(bytearray(self.read(offset, nbytes)), dtype=torch.uint8)

    def chunks(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        yield memoryview(self.read(offset, nbytes))
