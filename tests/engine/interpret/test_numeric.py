"""The numeric reading is torch: every operation beside the torch.nn layer that it stands for."""

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.interpret.numeric import run
from app.engine.ir.checkpoint import find_model
from app.engine.ir.graph import Value
from tests.engine.interpret.drawn_graphs import Builder, stored
from tests.engine.nets import norm

MODELS = {
    "conv": (nn.Conv2d(4, 6, 3, (1, 2), (1, 0), (2, 1), 2), (2, 4, 9, 8)),
    "reflect": (nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="reflect"), (2, 4, 9, 8)),
    "same": (nn.Conv1d(4, 6, 5, padding="same", dilation=2), (2, 4, 19)),
    "transposed": (nn.ConvTranspose3d(4, 6, 3, 2, 1, 1, groups=2), (2, 4, 4, 3, 5)),
    "linear": (nn.Linear(5, 3), (2, 4, 5)),
    "norm": (norm(4), (2, 4, 5, 3)),
    "norm of the batch": (norm(4, track_running_stats=False), (2, 4, 5, 3)),
    "pool": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.AvgPool2d(3, 2, 1, True, False)), (2, 4, 9, 8)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MODELS)
def test_a_layer_is_run_as_torch_runs_it(kind, dtype, tmp_path):
    model, shape = MODELS[kind]
    model = model.eval().to(torch.float32)
    torch.save(model, tmp_path / "m.pt")
    module = find_model(read_file(tmp_path / "m.pt").root).module
    x = torch.randn(shape)
    result = run(trace(module, [shape], family_of).graph, [x], dtype)
    with torch.no_grad():
        assert torch.equal(result, model.to(dtype)(x.to(dtype)))


def test_scales_shifts_sums_and_joints_are_what_they_say():
    b = Builder()
    x = Value((2, 3, 4))
    factor, offset = torch.randn(3), torch.randn(1, 4)
    scaled = b.ops.scale(x, stored("factor", factor))
    shifted = b.ops.shift(x, stored("offset", offset), axis=2)
    graph = b.graph(x, {"sum": b.ops.add(scaled, shifted), "both": [b.ops.concat([scaled, x], 1)], "n": 3})
    value = torch.randn(2, 3, 4)
    result = run(graph, [value], torch.float32)
    assert torch.equal(result["sum"], value * factor[:, None] + (value + offset))
    assert torch.equal(result["both"][0], torch.cat((value * factor[:, None], value), 1))
    assert result["n"] == 3
