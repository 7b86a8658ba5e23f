"""Every description against outputs of the original authors' code: the evidence that a block is read rightly."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.interpret.numeric import run
from tests.engine.forward.inert import blocks, model_at, models, oracle, tensors_in


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("path", [*blocks(), *models()], ids=lambda path: path.stem)
def test_the_numeric_reading_gives_what_the_original_code_gave(path: Path, dtype: torch.dtype) -> None:
    inputs, expected = oracle(path)
    graph = trace(model_at(path), [tuple(x.shape) for x in inputs], family_of).graph

    found = list(tensors_in(run(graph, inputs, dtype)))

    # Rounding errors of fp32 grow like a random walk along the operations; the oracle itself was computed in fp32.
    limit = 8 * torch.finfo(torch.float32).eps * len(graph.nodes) ** 0.5
    assert [part.shape for part in found] == [part.shape for part in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (_by_channel(ours.double() - theirs.double()) <= limit * _by_channel(theirs)).all()


def _by_channel(x: Tensor) -> Tensor:
    """Largest magnitude per channel: dimension 1 of a map, the last one of boxes."""
    return x.abs().movedim(1 if x.ndim == 4 else -1, 0).flatten(1).amax(1)


@pytest.mark.parametrize("path", [*blocks(), *models()], ids=lambda path: path.stem)
def test_the_example_shapes_of_a_block_can_be_traced(path: Path) -> None:
    module = model_at(path)
    family = family_of(module)
    shapes = family.example_shapes(module)

    has_parameters = any(True for part in module.walk() for _ in part.parameters())
    assert (shapes is not None) == has_parameters
    if shapes is not None:
        assert trace(module, shapes, family_of).graph.nodes


@pytest.mark.parametrize("path", [*blocks(), *models()], ids=lambda path: path.stem)
def test_every_class_of_the_file_is_read_as_that_class_of_yolov7(path: Path) -> None:
    inputs, _ = oracle(path)

    calls = trace(model_at(path), [tuple(x.shape) for x in inputs], family_of).calls

    own = [(module, family) for module, family in calls if module.class_path.startswith("models.")]
    assert all(family.read_as == f"YOLOv7 {module.class_path.rpartition('.')[2]}" for module, family in own)
    assert own


def test_auxiliary_inputs_of_a_head_are_not_read() -> None:
    path = next(path for path in blocks() if path.stem == "IAuxDetect")
    inputs, _ = oracle(path)

    graph = trace(model_at(path), [tuple(x.shape) for x in inputs], family_of).graph

    read = {id(value) for node in graph.nodes for value in node.inputs}
    half = len(inputs) // 2
    assert [id(value) in read for value in graph.inputs] == [True] * half + [False] * half


@pytest.mark.skipif(not models(), reason="no whole models beside the repository")
@pytest.mark.parametrize("path", models(), ids=lambda path: path.stem)
def test_facts_of_a_model_are_those_of_its_file(path: Path) -> None:
    classes, stride = {"yolov7": (80, 32), "yolov7-w6-aux": (12, 64), "yolov7-orepa": (5, 32)}[path.stem]
    module = model_at(path)

    family = family_of(module)

    assert family.facts(module) == {"family": "YOLOv7", "channels": 3, "classes": classes, "stride": stride}
    assert family.runs_in == "float32"
