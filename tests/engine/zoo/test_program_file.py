"""Models that are written as a program: every output under a name, for any batch."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from app.engine.zoo.program_file import write_program


class Outputs(nn.Module):
    """As segmentation networks answer, by name, or as distilled ones do, in a row."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.named = named
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(4, 2, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.stem(x))
        out, aux = (head(x) for head in self.heads)
        return {"out": out, "aux": aux} if self.named else (out, aux)


@pytest.mark.parametrize(("named", "names"), [(True, ["out", "aux"]), (False, ["output_0", "output_1"])])
def test_several_outputs_have_names_and_take_any_batch(named: bool, names: list[str], tmp_path: Path) -> None:
    model = Outputs(named).eval().requires_grad_(False)

    write_program(model, [(3, 16, 16)], "onnx", tmp_path / "net.onnx", "net")

    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_outputs()] == [(name, ["batch", 2, 16, 16]) for name in names]
    x = torch.rand(5, 3, 16, 16)
    expected = model(x).values() if named else model(x)
    for found, wanted in zip(session.run(None, {"input": x.numpy()}), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted)
