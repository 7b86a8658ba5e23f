"""ONNX models with external data from end to end: an archive in, an archive out that runs after unpacking."""

import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from app.engine.pipeline import inspect_checkpoint
from app.engine.verify.onnx_runtime import CannotRun, run_onnx, run_onnx_archive
from app.errors import UnsupportedContent
from tests.engine.graph_models import OnnxBuilder, fuse_graph, net, onnx_net
from tests.engine.nets import norm

IMAGE = torch.randn(2, 3, 20, 28)


def packed(path, folder="", threshold=0, **options):
    """The model at `path` with external data, in an archive beside it."""
    where = path.parent / "files" / folder
    where.mkdir(parents=True)
    options = {"location": "weights.bin", **options}
    model = onnx.load(path)
    onnx.save_model(model, where / path.name, save_as_external_data=True, size_threshold=threshold, **options)
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for one in sorted(where.iterdir()):
            stream.write(one, folder + one.name)
    return archive


def unpacked(archive):
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as stream:
        stream.extractall(folder)
    return next(folder.rglob("*.onnx"))


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


@pytest.fixture
def model():
    torch.manual_seed(3)
    return net()


@pytest.mark.parametrize("folder", ["", "net/"])
def test_an_archive_is_fused_and_runs_after_unpacking(model, tmp_path, folder):
    source = packed(onnx_net(model, tmp_path / "net.onnx"), folder)

    report, target = fuse_graph(source)

    path = unpacked(target)
    onnx.checker.check_model(str(path), full_check=True)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    assert sorted(one.name for one in path.parent.iterdir()) == ["net.onnx", "weights.bin"]
    for image in (IMAGE, torch.randn(1, 3, 33, 17)):
        wanted = model(image).detach().numpy()
        np.testing.assert_allclose(run(path, image), wanted, rtol=1e-4, atol=1e-5)
    assert (report.input.format, report.output.format) == ("onnx-zip", "onnx-zip")
    assert report.output.filename == "net.fused.zip"
    assert report.equivalence.native.dtype == "float32"
    assert not report.notes
    assert report.summary.batch_norms_after == 0


def test_it_holds_the_same_weights_as_the_model_fused_without_external_data(model, tmp_path):
    plain = fuse_graph(onnx_net(model, tmp_path / "net.onnx"))[1]
    target = fuse_graph(packed(tmp_path / "net.onnx"))[1]

    arrays = [
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        for path in (plain, unpacked(target))
    ]
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(arrays[1][name], array) for name, array in arrays[0].items())


@pytest.mark.parametrize("one_file", [True, False])
def test_a_second_pass_changes_nothing_and_the_bytes_are_the_same_again(model, tmp_path, one_file):
    options = {} if one_file else {"all_tensors_to_one_file": False, "location": None}
    source = packed(onnx_net(model, tmp_path / "net.onnx"), **options)

    _, target = fuse_graph(source)

    first = target.read_bytes()
    assert fuse_graph(source)[1].read_bytes() == first
    again, second = fuse_graph(target)
    assert not again.replaced
    assert second.read_bytes() == first


def test_the_runtime_is_given_the_data_and_opens_nothing(model, tmp_path, monkeypatch):
    source = packed(onnx_net(model, tmp_path / "net.onnx"), "net/")
    # What lies at the place that a path would lead to must not be read.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 16))

    given = run_onnx_archive(source, ["image"], [IMAGE], "cpu")

    assert torch.equal(given[0], run_onnx(tmp_path / "net.onnx", ["image"], [IMAGE], "cpu")[0])


def held_outside(name, array, location):
    tensor = numpy_helper.from_array(array, name)
    onnx.external_data_helper.set_external_data(tensor, location, 0, array.nbytes)
    tensor.ClearField("raw_data")
    return tensor


def test_data_of_constants_inner_graphs_and_functions_is_not_looked_for_at_paths_either(tmp_path, monkeypatch):
    arrays = [np.random.default_rng(n).normal(size=(70, 70)).astype(np.float32) for n in range(4)]
    outside = {f"w{n}": held_outside(f"w{n}", array, f"w{n}") for n, array in enumerate(arrays)}
    builder = OnnxBuilder()
    builder.initializers.append(outside["w0"])
    builder.nodes.append(helper.make_node("Constant", [], ["c"], value=outside["w1"]))
    inner = [helper.make_node("MatMul", ["first", "w2"], ["inner"])]
    result = helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph(inner, "branch", [], [result], [outside["w2"]])
    builder.nodes.append(helper.make_node("MatMul", ["x", "w0"], ["zeroth"]))
    builder.nodes.append(helper.make_node("Relu", ["zeroth"], ["relu"]))
    builder.nodes.append(helper.make_node("MatMul", ["relu", "c"], ["first"]))
    truth = builder.weight("truth", np.array(True))
    builder.nodes.append(helper.make_node("If", [truth], ["second"], then_branch=branch, else_branch=branch))
    builder.nodes.append(helper.make_node("Own", ["second"], ["y"], domain="own"))
    model = builder.model({"x": (2, 70)}, ["y"], domains=[helper.make_opsetid("own", 1)])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 70)))
    body = [
        helper.make_node("Constant", [], ["d"], value=outside["w3"]),
        helper.make_node("MatMul", ["v", "d"], ["u"]),
    ]
    model.functions.append(helper.make_function("own", "Own", ["v"], ["u"], body, [helper.make_opsetid("", 17)]))
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as stream:
        stream.writestr("net.onnx", model.SerializeToString())
        for name, array in zip(outside, arrays, strict=True):
            stream.writestr(name, array.tobytes())
            (tmp_path / name).write_bytes(bytes(array.nbytes))  # what must not be read
    x = torch.randn(2, 70)

    report, target = fuse_graph(tmp_path / "net.zip")

    wanted = np.maximum(x.numpy() @ arrays[0], 0) @ arrays[1] @ arrays[2] @ arrays[3]
    for archive in (tmp_path / "net.zip", target):
        found = run_onnx_archive(archive, ["x"], [x], "cpu")[0].numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    onnx.checker.check_model(str(unpacked(target)), full_check=True)
    np.testing.assert_allclose(session_of(target, x), wanted, rtol=1e-3, atol=1e-3)
    assert report.output.format == "onnx-zip"


def session_of(archive, x):
    session = onnxruntime.InferenceSession(str(next(archive.with_suffix("").rglob("*.onnx"))))
    return session.run(None, {"x": x.numpy()})[0]


def test_data_in_a_folder_beside_the_model_is_found(model, tmp_path):
    made = onnx.load(onnx_net(model, tmp_path / "net.onnx"))
    data = b""
    for tensor in made.graph.initializer:
        content = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, "parts/w.bin", len(data), len(content))
        tensor.ClearField("raw_data")
        data += content
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as stream:
        stream.writestr("parts/w.bin", data)
        stream.writestr("net.onnx", made.SerializeToString())

    report, target = fuse_graph(tmp_path / "net.zip")

    path = unpacked(target)
    onnx.checker.check_model(str(path), full_check=True)
    np.testing.assert_allclose(run(path, IMAGE), model(IMAGE).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert not report.notes


def test_an_archive_is_inspected_and_a_bare_model_is_told_to_come_in_one(model, tmp_path):
    source = packed(onnx_net(model, tmp_path / "net.onnx"))

    found = inspect_checkpoint(source, filename="net.zip")
    with pytest.raises(UnsupportedContent, match="external data") as caught:
        fuse_graph(tmp_path / "files" / "net.onnx")

    assert (found.input.format, found.input.detected.model_class) == ("onnx-zip", "ONNX graph")
    assert found.input.detected.batch_norms == 3
    assert "zip -0" in caught.value.remedy
    with pytest.raises(CannotRun):
        run_onnx_archive(source, ["other"], [IMAGE], "cpu")


def test_an_archive_whose_tensors_are_all_small_holds_no_empty_file(tmp_path):
    builder = OnnxBuilder()
    x = builder.norm(builder.conv("image", torch.nn.Conv2d(3, 2, 1), "conv"), norm(2).eval(), "norm")
    onnx.save(builder.model({"image": (2, 3, 20, 28)}, [x]), tmp_path / "small.onnx")
    source = packed(tmp_path / "small.onnx")

    _, target = fuse_graph(source)

    with zipfile.ZipFile(target) as stream:
        assert stream.namelist() == ["small.onnx"]
    path = unpacked(target)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv"]
    torch.testing.assert_close(run(path, IMAGE), run(tmp_path / "small.onnx", IMAGE), rtol=1e-5, atol=1e-5)
    fuse_graph(target)
