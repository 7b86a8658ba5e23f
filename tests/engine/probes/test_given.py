"""Models compared on the caller's own inputs, and inputs that are none of theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from app.engine.pipeline import fuse_checkpoint
from app.errors import InvalidOption, InvalidProbe
from app.options import FuseOptions
from app.report import Report
from tests.engine.graph_models import OnnxBuilder, export, net, onnx_net
from tests.engine.nets import Unknown, norm, pair

RNG = np.random.default_rng(5)
X = RNG.standard_normal((3, 3, 20, 28)).astype(np.float32)


def saved(directory: Path, name: str, **arrays: np.ndarray) -> Path:
    path = directory / name
    if name.endswith(".npy"):
        (array,) = arrays.values()
        np.save(path, array)
    elif name.endswith(".npz"):
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return path


def fused(source: Path, probe: Path, **options: Any) -> Report:
    target = source.with_name("fused")
    return fuse_checkpoint(source, target, FuseOptions(**options), filename=source.name, probe=probe)


def tree(model: nn.Module, directory: Path) -> Path:
    torch.save(model, directory / "net.pt")
    return directory / "net.pt"


def refused(source: Path, probe: Path, **options: Any) -> InvalidProbe:
    with pytest.raises(InvalidProbe) as found:
        fused(source, probe, **options)
    assert found.value.remedy
    assert not source.with_name("fused").exists()
    return found.value


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_the_figures_of_a_module_tree_are_of_the_callers_inputs(tmp_path, name):
    model = net()
    source = tree(model, tmp_path)
    report = fused(source, saved(tmp_path, name, input=X))
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == (X.shape,)
    after = torch.load(tmp_path / "fused", weights_only=False)
    x = torch.from_numpy(X)
    with torch.no_grad():
        moved = (after(x).double() - model.double()(x.double())).abs().max()
    assert report.equivalence.native.absolute == pytest.approx(float(moved), rel=1e-6)


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_the_figures_of_a_graph_file_are_of_the_callers_inputs(tmp_path, kind):
    model, source = net(), tmp_path / f"net.{kind}"
    export(model, source, torch.randn(2, 3, 32, 32)) if kind == "pt2" else onnx_net(model, source)
    report = fused(source, saved(tmp_path, "x.npy", x=X))
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == (X.shape,)
    seeded = fuse_checkpoint(source, tmp_path / "fused", FuseOptions(), filename=source.name)
    assert seeded.equivalence.probe.source == "seeded"
    assert seeded.equivalence.native.absolute != report.equivalence.native.absolute


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
@pytest.mark.parametrize("kind", ["pt", "onnx", "pt2"])
def test_one_array_is_the_input_of_a_model_that_has_one_whatever_it_is_called(tmp_path, kind, name):
    model, source = net(), tmp_path / f"net.{kind}"
    match kind:
        case "pt":
            tree(model, tmp_path)
        case "onnx":
            onnx_net(model, source)
        case _:
            export(model, source, torch.randn(2, 3, 32, 32))
    report = fused(source, saved(tmp_path, name, pictures=X))
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == (X.shape,)


def two_inputs(directory: Path) -> Path:
    """A picture, and rows of a table that are added to what a convolution makes of it."""
    builder = OnnxBuilder()
    x = builder.sequential("image", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm(4)))
    table = builder.weight("table", torch.randn(5, 4, 1, 1))
    out = builder.op("Add", x, builder.op("Gather", table, "row", axis=0))
    model = builder.model({"image": ("n", 3, "h", "w"), "row": ("n",)}, [out], {"row": onnx.TensorProto.INT64})
    onnx.save(model, directory / "two.onnx")
    return directory / "two.onnx"


ROWS = np.array([0, 4, 2])


@pytest.mark.parametrize("names", [("image", "row"), ("arr_0", "arr_1")])
def test_several_inputs_go_by_their_names_or_in_order_where_numpy_numbered_them(tmp_path, names):
    probe = saved(tmp_path, "x.npz", **dict(zip(names, (X, ROWS), strict=True)))
    report = fused(two_inputs(tmp_path), probe)
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == (X.shape, ROWS.shape)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"picture": X, "row": ROWS}, "'image', 'row'"),
        ({"image": X}, "'image', 'row'"),
        ({"image": X, "row": ROWS, "more": X}, "'image', 'row'"),
        ({"image": X[:, :2], "row": ROWS}, "which is nx3xhxw"),
        ({"image": X[0], "row": ROWS}, "which is nx3xhxw"),
        ({"image": X, "row": ROWS[:2]}, "which is n"),
        ({"image": X, "row": ROWS.astype(np.float32)}, "takes int64"),
        ({"image": (255 * X).astype(np.uint8), "row": ROWS}, "takes float32"),
        ({"image": X, "row": np.array([0, 1, 5])}, "can be run on"),
    ],
    ids=[
        *("another name", "too few", "too many", "other channels", "another rank", "another batch", "floats for rows"),
        *("bytes for a picture", "no such row"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_refused_with_what_it_takes(tmp_path, arrays, said):
    assert said in refused(two_inputs(tmp_path), saved(tmp_path, "x.npz", **arrays)).detail


@pytest.mark.parametrize(
    ("x", "remedy"),
    [
        (X[0], "x[None]"),
        (np.moveaxis(X, 1, -1).copy(), "numpy.moveaxis(x, -1, 1)"),
        (X[:, :2], "fixed"),
        (X[0, 0], "fixed"),
    ],
    ids=["no batch", "channels last", "other channels", "a plane"],
)
def test_a_shape_that_does_not_fit_is_refused_with_what_is_likely_wrong_with_it(tmp_path, x, remedy):
    assert remedy in refused(tree(net(), tmp_path), saved(tmp_path, "x.npy", x=x)).remedy


@pytest.mark.parametrize("kind", ["pt", "onnx"])
def test_inputs_that_would_take_hours_are_refused_before_the_first_run(tmp_path, kind):
    """Three layers of 2.7e11 multiply-adds each, behind which no two can be one: small tensors, and much to do."""
    wide = [layer for _ in range(3) for layer in (nn.Conv2d(1024, 1024, 1, bias=False), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(3, 1024, 1), norm(1024), nn.ReLU(), *wide).eval()
    source = tree(model, tmp_path) if kind == "pt" else onnx_net(model, tmp_path / "net.onnx")
    x = np.ones((256, 3, 32, 32), np.float32)
    error = refused(source, saved(tmp_path, "x.npy", x=x))
    assert "multiply-adds" in error.detail
    assert "handful" in error.remedy


def test_a_number_that_the_inputs_dtype_can_not_hold_is_refused(tmp_path):
    model = onnx.load(onnx_net(net(), tmp_path / "net.onnx"))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    cast = onnx.helper.make_node("Cast", ["image"], ["wide"], to=onnx.TensorProto.FLOAT)
    model.graph.node[0].input[0] = "wide"
    model.graph.node.insert(0, cast)
    onnx.save(model, tmp_path / "half.onnx")
    assert fused(tmp_path / "half.onnx", saved(tmp_path, "x.npy", x=X)).equivalence.probe.source == "caller"
    (tmp_path / "fused").unlink()
    assert "float16 can't hold" in refused(tmp_path / "half.onnx", saved(tmp_path, "y.npy", x=1e6 * X)).detail


@pytest.mark.parametrize(
    ("shape", "said"),
    [((2, 4, 20, 20), "?x3x?x?"), ((3, 20, 20), "?x3x?x?"), ((1, 3, 2, 2), "model")],
    ids=["other channels", "no batch", "smaller than the kernel"],
)
def test_inputs_that_a_module_tree_does_not_take_are_refused(tmp_path, shape, said):
    model = nn.Sequential(nn.Conv2d(3, 4, 7), norm(4), nn.ReLU()).eval()
    assert said in refused(tree(model, tmp_path), saved(tmp_path, "x.npy", x=np.ones(shape, np.float32))).detail


def test_a_model_that_is_not_followed_as_a_whole_takes_no_probe(tmp_path):
    source = tree(Unknown(stem=pair(nn.Conv2d(3, 4, 3))), tmp_path)
    error = refused(source, saved(tmp_path, "x.npy", x=X))
    assert "not followed as a whole" in error.detail
    assert "Unknown" in error.detail
    assert "Leave probe out" in error.remedy


def test_a_state_dict_whose_blocks_are_known_takes_none_either(tmp_path):
    torch.save(net().state_dict(), tmp_path / "net.pt")
    plan = '{"pairs": [{"conv": "0", "norm": "1"}]}'
    assert "Leave probe out" in refused(tmp_path / "net.pt", saved(tmp_path, "x.npy", x=X), plan=plan).remedy


def test_a_size_that_a_program_was_not_exported_for_is_refused(tmp_path):
    source = export(net(), tmp_path / "net.pt2", torch.randn(2, 3, 32, 32), dynamic=False)
    assert "2x3x32x32" in refused(source, saved(tmp_path, "x.npy", x=X)).detail


def test_a_probe_and_a_probe_shape_are_one_too_many(tmp_path):
    source = onnx_net(net(), tmp_path / "net.onnx")
    with pytest.raises(InvalidOption, match="probe_shape"):
        fused(source, saved(tmp_path, "x.npy", x=X), probe_shape="1x3x8x8")


def test_inputs_on_which_nothing_is_seen_do_not_pass_for_a_proof(tmp_path):
    """Zeros through a network without biases: every region is proved on seeded noise all the same."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm(4, affine=False), nn.ReLU()).eval()
    model[1].running_mean.zero_()
    report = fused(tree(model, tmp_path), saved(tmp_path, "x.npy", x=np.zeros_like(X)))
    assert report.equivalence.passed
    assert report.replaced[0].error.native > 0
