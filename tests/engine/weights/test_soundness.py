"""Numbers that no network has are named by the tensor that holds them, in whatever kind of file."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from app.engine import fuse_checkpoint
from app.errors import UnsupportedContent
from app.options import FuseOptions
from tests.engine.nets import fuse, norm

SPOILED = [
    ("weight", 0, float("nan")),
    ("weight", 0, float("inf")),
    ("bias", 1, float("-inf")),
    ("running_mean", 1, float("nan")),
    ("running_var", 1, -1.0),
    ("running_var", 1, float("nan")),
]


@pytest.mark.parametrize(("name", "layer", "value"), SPOILED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_one_number_of_a_module_is_enough(name, layer, value, dtype, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU()).to(dtype)
    with torch.no_grad():
        getattr(model[layer], name).view(-1)[2] = value

    with pytest.raises(UnsupportedContent) as caught:
        fuse({"model": model}, tmp_path)

    assert caught.value.facts["tensor"] == f"{layer}.{name}"


def test_large_numbers_whose_sum_is_beyond_half_precision_are_sound(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).half()
    with torch.no_grad():
        model[0].bias.fill_(60_000.0)

    fuse({"model": model}, tmp_path)


@pytest.mark.parametrize(("name", "value"), [("w", float("nan")), ("s", float("inf")), ("v", -1.0)])
def test_one_number_of_a_graph_is_enough(name, value, tmp_path):
    held = {key: torch.rand(4).numpy() + 0.5 for key in "sbmv"} | {"w": torch.rand(4, 3, 3, 3).numpy()}
    held[name].reshape(-1)[1] = value
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(port, TensorProto.FLOAT, shape)
        for port, shape in (("x", (1, 3, 8, 8)), ("y", (1, 4, 6, 6)))
    ]
    tensors = [numpy_helper.from_array(content.astype("float32"), key) for key, content in held.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")

    with pytest.raises(UnsupportedContent) as caught:
        fuse_checkpoint(tmp_path / "m.onnx", tmp_path / "o.onnx", FuseOptions(), filename="m.onnx")

    assert caught.value.facts["tensor"] == name
