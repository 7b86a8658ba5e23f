"""Writing into literals: a mask that a model's code fills in, part by part, before anything is computed with it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from app.engine.forward.aten.calls import Call
from app.engine.forward.aten.constants import Constants
from app.engine.forward.aten.emitter import MISFITS, unread
from app.engine.ir.graph import Const


def copied_memory(target: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor that shares the target's memory, on a copy of it."""
    memory = tensors[target].untyped_storage()
    fresh = torch.empty(0, dtype=torch.uint8).set_(memory).clone().untyped_storage()
    return {
        name: torch.empty(0, dtype=tensor.dtype).set_(fresh, tensor.storage_offset(), tensor.shape, tensor.stride())
        for name, tensor in tensors.items()
        if tensor.untyped_storage().data_ptr() == memory.data_ptr()
    }


def write_into(call: Call) -> None:
    """Run an operator that writes into its first argument; all of them are literals."""
    invocation, consts = call.invocation(Constants().like)
    try:
        with torch.no_grad():
            invocation(*(const.value(None) for const in consts if isinstance(const, Const)))
    except MISFITS as error:
        raise unread(call.owner, "shapes-differ", f"aten::{call.name}: {str(error).splitlines()[0][:300]}") from error
