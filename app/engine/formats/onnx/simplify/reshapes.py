"""Of reshapes in a row the last alone counts."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from app.engine.formats.onnx.order import Step
from app.engine.ir.tensors import StoredTensor

_RESHAPES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})  # keep every number and their order


def merge_reshapes(steps: Sequence[Step], tensors: Mapping[str, StoredTensor]) -> None:
    """Of reshapes in a row the last alone counts, where none of its sizes is "as it is" (a 0)."""
    giver = {name: step for step in steps for name in step.outputs}
    for step in steps:
        if step.kind != "Reshape" or not _states_all_sizes(step, tensors):
            continue
        while (name := step.inputs[0]) in giver and (above := giver[str(name)]).kind in _RESHAPES:
            step.inputs[0] = above.inputs[0]


def _states_all_sizes(step: Step, tensors: Mapping[str, StoredTensor]) -> bool:
    target = tensors.get(str(step.inputs[1]))
    return target is not None and target.dtype == torch.int64 and not bool((target.read() == 0).any())
