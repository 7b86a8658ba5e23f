"""Counting a module tree: parameters, batch norms, convolutions, dtypes. And widening it to float32."""

from collections import Counter
from dataclasses import dataclass

import torch

from app.engine.forward.structure import is_batch_norm, is_convolution
from app.engine.ir.module import Module
from app.engine.ir.tensors import buffer, is_parameter, parameter, tensor_of

_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Census:
    parameters: int  # elements, a shared parameter once
    batch_norms: int
    convolutions: int
    dtype: torch.dtype  # of most parameters
    operators: int | None = None  # of a graph file
    bytes: int = 0  # of a graph file's tensors


def count(root: Module) -> Census:
    """Count what is registered below `root`, each module and parameter once."""
    seen: set[int] = set()
    dtypes: Counter[torch.dtype] = Counter()
    norms = convolutions = 0
    for module in root.walk():
        if id(module.node) in seen:
            continue
        seen.add(id(module.node))
        norms += is_batch_norm(module)
        convolutions += is_convolution(module)
        for name, stored in module.parameters():
            node = module.table("_parameters")[name]
            if id(node) not in seen:
                seen.add(id(node))
                dtypes[stored.dtype] += stored.numel
    dtype = max(dtypes, key=lambda kind: dtypes[kind]) if dtypes else torch.float32
    return Census(sum(dtypes.values()), norms, convolutions, dtype)


def first_not_finite(root: Module) -> str | None:
    """Path of the first parameter that holds a NaN or an infinity."""
    for module in root.walk():
        for name, stored in module.parameters():
            if stored.dtype.is_floating_point and not bool(stored.read().isfinite().all()):
                return module.at(name)
    return None


def widen(root: Module) -> None:
    """Store every fp16 or bf16 parameter and buffer of the tree as float32, in place; tied ones stay tied."""
    wide: dict[int, object] = {}
    for module in root.walk():
        for table in ("_parameters", "_buffers"):
            content = module.table(table)
            for name, node in content.items():
                stored = tensor_of(node)
                if stored is None or stored.dtype not in _HALVES:
                    continue
                if id(node) not in wide:
                    make = parameter if is_parameter(node) else buffer
                    wide[id(node)] = make(
                        stored.read().to(torch.float32),
                        location=stored.storage.location,
                        requires_grad=stored.requires_grad,
                    )
                content[name] = wide[id(node)]
