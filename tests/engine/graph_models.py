"""The same small network as a pickled module, as an ONNX model and as a torch.export program."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from app.engine.pipeline import fuse_checkpoint
from app.options import FuseOptions
from app.report import Report
from tests.engine.nets import norm


def net() -> nn.Sequential:
    """Every region a chain, so that a pickled Sequential proves it as well as a graph does."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        norm(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        norm(8),
        nn.ReLU(),
        norm(8),
        nn.Conv2d(8, 6, 1),
    ).eval()


def export(model: nn.Module, path: Path, *inputs: Any, dynamic: bool = True) -> Path:
    dims = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with torch.no_grad():
        program = torch.export.export(model, inputs, dynamic_shapes=(dims,) * len(inputs) if dynamic else None)
    torch.export.save(program, path)
    return path


class OnnxBuilder:
    """An ONNX model, operator by operator; weights become initializers under the names they are given."""

    def __init__(self, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.opset = opset

    def weight(self, name: str, value: Tensor | np.ndarray) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"node_{name}", **attributes))
        return name

    def conv(self, x: str, conv: nn.Conv2d, name: str) -> str:
        weights = [self.weight(f"{name}.weight", conv.weight)]
        weights += [] if conv.bias is None else [self.weight(f"{name}.bias", conv.bias)]
        pads = [*conv.padding, *conv.padding]
        shape, strides = list(conv.kernel_size), list(conv.stride)
        return self.op("Conv", x, *weights, kernel_shape=shape, strides=strides, pads=pads, group=conv.groups)

    def norm(self, x: str, bn: nn.BatchNorm2d, name: str) -> str:
        parts = {"weight": bn.weight, "bias": bn.bias, "running_mean": bn.running_mean, "running_var": bn.running_var}
        return self.op(
            "BatchNormalization", x, *(self.weight(f"{name}.{k}", v) for k, v in parts.items()), epsilon=bn.eps
        )

    def sequential(self, x: str, model: nn.Sequential) -> str:
        for name, layer in model.named_children():
            if isinstance(layer, nn.Conv2d):
                x = self.conv(x, layer, name)
            elif isinstance(layer, nn.BatchNorm2d):
                x = self.norm(x, layer, name)
            else:
                x = self.op("Relu", x)
        return x

    def model(
        self, inputs: dict[str, Any], outputs: list[str], kinds: dict[str, int] | None = None, **parts: Any
    ) -> onnx.ModelProto:
        kinds = kinds or {}
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(k, kinds.get(k, TensorProto.FLOAT), v) for k, v in inputs.items()],
            [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset), *parts.pop("domains", [])]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="a test", **parts)
        return onnx.shape_inference.infer_shapes(made)


def onnx_net(model: nn.Sequential, path: Path, size: Any = ("n", 3, "h", "w")) -> Path:
    builder = OnnxBuilder()
    output = builder.sequential("image", model)
    made = builder.model({"image": size}, [output])
    helper.set_model_props(made, {"trained_by": "a test"})
    onnx.save(made, path)
    return path


def fuse_graph(source: Path, **options: Any) -> tuple[Report, Path]:
    target = source.with_name(f"fused.{source.name}")
    return fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name), target
