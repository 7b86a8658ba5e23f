"""Files of weights over real HTTP: what was recognised, the caller's word for the rest, and the problem without it."""

import importlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from app.engine.zoo.deployed import deployed, loaded
from app.engine.zoo.operators import defined
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


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A model of timm with norms that are not fresh."""
    defined()
    model: nn.Module = importlib.import_module("timm").create_model("test_resnet", num_classes=7)
    return randomised(model).requires_grad_(False)


def _sharded(tensors: dict[str, Tensor], shards: int) -> bytes:
    """Neighbours in different files, as no tool would part them: one file loses all of its tensors to the fusing."""
    names = [f"model-{at + 1:05}-of-{shards:05}.safetensors" for at in range(shards)]
    places = {name: names[at % shards] for at, name in enumerate(tensors)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for shard in names:
            archive.writestr(shard, save({name: tensors[name] for name, at in places.items() if at == shard}))
        archive.writestr("model.safetensors.index.json", json.dumps({"weight_map": places}))
    return stream.getvalue()


def test_half_precision_shards_of_a_wrapped_model_come_back_as_such(server: Any, small: nn.Module) -> None:
    state = {f"module.{name}": tensor for name, tensor in small.half().state_dict().items()}

    answer = _upload(server, _sharded(state, 3), "model.zip", architecture="timm/test_resnet")

    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        index = json.loads(archive.read("model.safetensors.index.json"))["weight_map"]
        found = {name: value for shard in set(index.values()) for name, value in load(archive.read(shard)).items()}
        assert set(archive.namelist()) == {*index.values(), "model.safetensors.index.json"}
    assert set(index) == set(found)
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    bare = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    assert not any("running_var" in name for name in bare)
    model = importlib.import_module("timm").create_model("test_resnet", num_classes=7)
    fused = loaded(deployed(model, bare), bare).double()
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    expected = small.double()(x)
    rounding = 15 * torch.finfo(torch.float16).eps  # of each of the layers that a norm went into
    torch.testing.assert_close(fused(x), expected, rtol=0, atol=rounding * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("architecture", "code", "said"),
    [
        ("timm/test_resnet:num_classes=5", "architecture-mismatch", "fc.weight: 7x96, should be 5x96"),
        ("timm/test_resnt", "unknown-architecture", "timm/test_resnet"),
        ("timm/test_resnet:checkpoint_path=x", "invalid-option", "may not be given"),
        ("timm/../../etc/passwd", "unknown-architecture", "nobody here knows"),
    ],
)
def test_an_architecture_that_does_not_fit_is_a_problem_that_says_why(
    server: Any, small: nn.Module, architecture: str, code: str, said: str
) -> None:
    answer = _upload(server, _torch(small.state_dict()), architecture=architecture)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert said in f"{problem['detail']} {problem['remedy']}"
