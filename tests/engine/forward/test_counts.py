"""Operators of graph files with counts that no runtime can run are told by their name."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from app.engine.pipeline import fuse_checkpoint
from app.errors import UnsupportedContent
from app.options import FuseOptions


def _fuse(path: Path) -> int:
    target = path.with_name(f"fused{path.suffix}")
    return len(fuse_checkpoint(path, target, FuseOptions(), filename=path.name).replaced)


def _onnx(path: Path, **attributes: Any) -> Path:
    ones = [numpy_helper.from_array(np.ones(4, np.float32), name) for name in "abcd"]
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], **attributes),
        helper.make_node("BatchNormalization", ["y", *"abcd"], ["z"]),
    ]
    shapes = [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])], [helper.make_tensor_value_info("z", 1, None)]
    graph = helper.make_graph(nodes, "graph", *shapes, [weight, *ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("attributes", [{"group": 0}, {"group": -1}, {"strides": [0, 1]}, {"dilations": [1, -2]}])
def test_a_convolution_of_an_onnx_model_is_named(attributes: dict[str, Any], tmp_path: Path) -> None:
    assert _fuse(_onnx(tmp_path / "sound.onnx", group=1)) == 1

    with pytest.raises(UnsupportedContent, match=f"^y: Conv has {next(iter(attributes))}"):
        _fuse(_onnx(tmp_path / "odd.onnx", **attributes))


def _program(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)).eval()
    whole = path.with_name("whole.pt2")
    torch.export.save(torch.export.export(model, (torch.zeros(2, 4, 8, 8),)), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("models/model.json"):
                document = json.loads(content)
                nodes = document["graph_module"]["graph"]["nodes"]
                edit({one["name"]: one["arg"] for node in nodes if "conv" in node["target"] for one in node["inputs"]})
                content = json.dumps(document).encode()
            target.writestr(zipfile.ZipInfo(entry.filename, (1980, 1, 1, 0, 0, 0)), content)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["groups", "stride", "dilation"])
def test_a_convolution_of_a_program_is_named(name: str, tmp_path: Path) -> None:
    def empty(arguments: dict[str, Any]) -> None:
        arguments[name].update({"as_int": 0} if "as_int" in arguments[name] else {"as_ints": [0, 0]})

    assert _fuse(_program(tmp_path / "sound.pt2", lambda arguments: None)) == 1

    with pytest.raises(UnsupportedContent, match=f"conv2d: .* has {name}"):
        _fuse(_program(tmp_path / "odd.pt2", empty))
