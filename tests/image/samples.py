"""Files to fuse, made by torch and timm as their users do, and what each says when it runs."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from app.engine.zoo.operators import defined


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, the options to send with it, and how to run what comes back."""

    path: Path
    before: Tensor
    after: Callable[[Path], Tensor]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def fused_name(self) -> str:
        """Loaders go by the name."""
        output = self.options.get("output", "keep")
        return "fused" + (self.path.suffix if output == "keep" else f".{output}")

    def difference(self, fused: Path) -> float:
        """The largest one, relative to the largest output."""
        return float((self.after(fused) - self.before).abs().max() / self.before.abs().max())


def samples(place: Path) -> dict[str, Sample]:
    """One of each kind of file."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 32, 32)
    return {
        "a checkpoint": _checkpoint(place / "net.pt", x),
        "a state dict of timm": _state_dict(place / "timm.pth", torch.randn(1, 3, 160, 160)),
        "an ONNX model": _onnx(place / "net.onnx", x),
        "a torch.export program": _program(place / "net.pt2", x),
    }


def long_job(path: Path) -> Path:
    """A checkpoint that takes some seconds on any machine, so that something can be done to it meanwhile."""
    torch.save(_net(400, 8), path)
    return path


def hostile(path: Path) -> Path:
    """A checkpoint that runs a program where it is loaded."""
    torch.save({"model": _Payload()}, path)
    return path


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return importlib.import_module("os").system, ("touch /data/executed /tmp/executed",)


def _net(blocks: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for at in range(blocks):
        layers += [nn.Conv2d(width if at else 3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    net = nn.Sequential(*layers).eval()
    _randomise(net)
    return net


def _randomise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@torch.no_grad()
def _checkpoint(path: Path, x: Tensor) -> Sample:
    net = _net(3, 16)
    torch.save(net, path)
    return Sample(path, net(x), torch.no_grad()(lambda fused: torch.load(fused, weights_only=False)(x)))


@torch.no_grad()
def _state_dict(path: Path, x: Tensor) -> Sample:
    defined()
    timm = importlib.import_module("timm")
    net = timm.create_model("test_byobnet").eval()
    _randomise(net)
    torch.save(net.state_dict(), path)
    # As a program the answer runs without timm's code.
    options = {"architecture": "timm/test_byobnet", "output": "pt2"}
    return Sample(path, net(x), torch.no_grad()(lambda fused: torch.export.load(fused).module()(x)), options)


@torch.no_grad()
def _program(path: Path, x: Tensor) -> Sample:
    net = _net(3, 16)
    torch.export.save(torch.export.export(net, (x,)), path)
    return Sample(path, net(x), torch.no_grad()(lambda fused: torch.export.load(fused).module()(x)))


@torch.no_grad()
def _onnx(path: Path, x: Tensor) -> Sample:
    net = _net(1, 16)
    conv, norm = net[0], net[1]
    tensors = {"w": conv.weight, "b": conv.bias, "g": norm.weight, "h": norm.bias}
    tensors |= {"m": norm.running_mean, "v": norm.running_var}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c", "g", "h", "m", "v"], ["n"], epsilon=norm.eps),
            helper.make_node("Relu", ["n"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 32, 32])],
        [numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def after(fused: Path) -> Tensor:
        runtime = importlib.import_module("onnxruntime").InferenceSession(str(fused))
        return torch.from_numpy(runtime.run(None, {"x": x.numpy()})[0])

    return Sample(path, net(x), after)
