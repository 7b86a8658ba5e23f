"""A state dict whose fp16 and bf16 tensors are stored as float32; tied ones stay tied."""

import torch

from app.engine.ir.node import Object
from app.engine.ir.tensors import buffer, is_parameter, parameter
from app.engine.weights.container import Tensors, stored

_HALVES = (torch.float16, torch.bfloat16)


def widened(tensors: Tensors) -> Tensors:
    """The same names, none of them with half of float32's digits."""
    wide: dict[int, Object] = {}
    for node in tensors.values():
        tensor = stored(node)
        if tensor.dtype in _HALVES and id(node) not in wide:
            make = parameter if is_parameter(node) else buffer
            content = tensor.read().to(torch.float32)
            wide[id(node)] = make(content, tensor.storage.location, tensor.requires_grad, owned=True)
    return {name: wide.get(id(node), node) for name, node in tensors.items()}
