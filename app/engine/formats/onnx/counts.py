"""What an ONNX model counts: operators, convolutions, batch norms, parameters."""

from collections import Counter

import torch

from app.engine.formats.onnx.onnx_file import OnnxFile
from app.engine.formats.onnx.structure import is_constant
from app.engine.fuse.census import Census

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def count(file: OnnxFile) -> Census:
    """Counts of the main graph. A Constant is data, not an operator."""
    nodes = [node for node in file.model.graph.node if not is_constant(node)]
    kinds = Counter(node.op_type for node in nodes if node.domain in ("", "ai.onnx"))
    dtypes: Counter[torch.dtype] = Counter()
    for tensor in file.tensors.values():
        if tensor.dtype.is_floating_point:
            dtypes[tensor.dtype] += tensor.numel
    return Census(
        parameters=sum(dtypes.values()),
        batch_norms=kinds["BatchNormalization"],
        convolutions=sum(kinds[kind] for kind in _CONVOLUTIONS),
        dtype=max(dtypes, key=lambda dtype: dtypes[dtype]) if dtypes else torch.float32,
        operators=len(nodes),
        bytes=sum(tensor.nbytes for tensor in file.tensors.values()),
    )
