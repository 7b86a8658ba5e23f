"""Files of weights over real HTTP: what was recognised, the caller's word for the rest, and the problem without it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from tests.engine.weights.nets import Odd, randomised

_PLAN = {"pairs": [{"conv": "conv1", "norm": "bn1", "eps": 1e-3}]}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return randomised(Odd()).state_dict()


def _upload(server: Any, content: bytes, name: str = "weights.pth", **options: str) -> Any:
    return server.http.post("/fuse?wait=60", files={"model": (name, content)}, data=options, timeout=70)


def _torch(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def test_a_state_dict_of_which_nothing_is_said_gets_a_problem_that_says_why(
    server: Any, weights: dict[str, Tensor]
) -> None:
    answer = _upload(server, _torch(weights))

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "state-dict-needs-model")
    assert "neither the layers' eps nor the data flow" in problem["detail"]
    assert "architecture=" in problem["remedy"]
    assert problem["matches"] == []


def test_a_plan_that_is_long_reaches_the_engine_whole(server: Any, weights: dict[str, Tensor]) -> None:
    plan = json.dumps(_PLAN).replace(": ", ":" + 190_000 * " ", 1)  # more than a socket hands over in one piece

    answer = _upload(server, save(weights), "weights.safetensors", plan=plan)

    assert answer.status_code == 200, answer.text
    found = load(answer.content)
    assert "bn1.weight" not in found
    x = torch.randn(1, 3, 8, 8)
    expected = nn.functional.batch_norm(
        nn.functional.conv2d(x, weights["conv1.weight"]),
        *(weights[f"bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")),
        eps=1e-3,
    )
    torch.testing.assert_close(nn.functional.conv2d(x, found["conv1.weight"], found["conv1.bias"]), expected)
    report = server.http.get(answer.links["describedby"]["url"]).json()
    assert [part["assumed"] for part in report["replaced"]] == [True]


def test_a_job_tells_what_was_recognised_also_where_it_failed_later(server: Any, checkpoint: Path) -> None:
    answer = _upload(server, checkpoint.read_bytes(), checkpoint.name, max_error="1e-30")

    job = server.http.get(answer.headers["location"]).json()
    assert job["state"] == "failed"
    assert job["recognised"]["family"] == ("YOLOv7" if "yolov7" in checkpoint.name else "YOLOv9")
    assert job["recognised"]["format"] == "torch-zip"
    assert job["recognised"]["parameters"] > 0
    assert isinstance(job["recognised"]["classes"], int)


def test_a_job_tells_which_architecture_its_weights_were_said_to_be_of(server: Any, weights: dict[str, Tensor]) -> None:
    answer = _upload(server, _torch({"state_dict": weights}), plan=json.dumps(_PLAN))

    job = server.http.get(answer.headers["location"]).json()
    assert job["recognised"]["source"] == "state_dict"
    assert job["recognised"]["batch_norms"] == 4
    assert job["recognised"]["dtype"] == "float32"
