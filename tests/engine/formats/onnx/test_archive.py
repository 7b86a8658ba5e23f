"""Archives of a model and its external data: read where they lie, written as onnx does, refused where in doubt."""

import random
import shutil
import struct
import subprocess
import zipfile
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from app.engine.formats import Limits, detect_file
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.onnx import read_onnx_archive, write_onnx_archive
from app.engine.forward.onnx import follow, ports
from app.errors import AppError, MalformedFile, TooLarge, UnsupportedContent
from tests.engine.formats.onnx.nets import conv_norm, f, make, value
from tests.engine.formats.test_mutations import changed


def external(name, array, location="w.bin", **said):
    """A tensor that lies elsewhere."""
    tensor = numpy_helper.from_array(array, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def sound(*initializers, **fields):
    """A model of one operator with these initializers, not checked."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", 2)], [value("y", 2)], list(initializers)
    )
    for name, parts in fields.items():
        getattr(graph, name).extend(parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pack(entries, method=zipfile.ZIP_STORED):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.SerializeToString())
    return stream.getvalue()


def saved(model, folder, threshold=0, **options):
    """The files of a model as onnx saves it with external data."""
    folder.mkdir()
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    onnx.save_model(copy, folder / "net.onnx", save_as_external_data=True, size_threshold=threshold, **options)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".onnx")}


@pytest.fixture
def read(tmp_path):
    def run(entries, limits=None):
        path = tmp_path / "source.zip"
        path.write_bytes(entries if isinstance(entries, bytes) else pack(entries))
        return read_onnx_archive(MappedFile(path), limits or Limits())

    return run


@pytest.fixture
def written(read, tmp_path):
    """Read, follow, write: the bytes of the archive."""

    def run(entries):
        file = read(entries)
        shapes = {p.name: tuple(d if isinstance(d, int) else 2 for d in p.dims) for p in ports(file.model)}
        program = follow(file.model, file.tensors, shapes)
        write_onnx_archive(file, program, program.graph, tmp_path / "target.zip")
        return (tmp_path / "target.zip").read_bytes()

    return run


@pytest.fixture
def unpacked(tmp_path):
    """The folder with the files of an archive."""

    def run(content):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            archive.extractall(tmp_path / "unpacked")
        return tmp_path / "unpacked"

    return run


@pytest.mark.parametrize("threshold", [0, 1024])
@pytest.mark.parametrize("one_file", [True, False])
def test_every_tensor_is_read_as_it_is_and_large_ones_stay_in_the_file(read, tmp_path, threshold, one_file):
    model = conv_norm()
    file = read(saved(model, tmp_path / "made", threshold, all_tensors_to_one_file=one_file, location="w"[:one_file]))

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert set(file.tensors) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(file.tensors[name].read().numpy(), array)
        assert isinstance(file.tensors[name].storage.source, FileBytes) == (array.nbytes > 1 << 14)
    assert not any(external_data_helper.uses_external_data(tensor) for tensor in file.model.graph.initializer)
    assert file.format == "onnx-zip"


def test_what_is_written_is_sound_after_unpacking_and_the_same_again(written, unpacked, tmp_path, outputs):
    model = conv_norm()
    first = written(saved(model, tmp_path / "made", location="net.bin"))

    path = unpacked(first) / "net.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    assert sorted(one.name for one in path.parent.iterdir()) == ["net.bin", "net.onnx"]
    for name, array in outputs(model).items():
        assert np.array_equal(outputs(onnx.load(path))[name], array)
    assert written(first) == first


def test_tensors_lie_as_runtimes_want_them_and_shared_ranges_once(written, unpacked):
    large, small = f(512, 512), f(40, 10)
    nodes = [
        helper.make_node("MatMul", ["x", "small"], ["a"]),
        helper.make_node("MatMul", ["a", "turn"], ["b"]),
        helper.make_node("Add", ["b", "tiny"], ["c"]),
        helper.make_node("MatMul", ["c", "large"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "again"], ["y"]),
    ]
    weights = {"small": small, "turn": f(10, 512), "tiny": f(1), "large": large, "again": large}
    model = make(nodes, [value("x", 2, 40)], [value("y", 2, 512)], weights)
    data = b"".join(array.tobytes() for array in (small, weights["turn"], large))
    place = dict(zip(("small", "turn", "large"), ((0, 1600), (1600, 20480), (22080, 1 << 20)), strict=True))
    place["again"] = place["large"]
    for number, tensor in enumerate(model.graph.initializer):
        if tensor.name in place:
            offset, length = place[tensor.name]
            lies = external(tensor.name, weights[tensor.name], offset=offset, length=length)
            model.graph.initializer[number].CopyFrom(lies)

    folder = unpacked(written({"net.onnx": model, "w.bin": data}))

    found = onnx.load(folder / "net.onnx", load_external_data=False)
    info = {t.name: external_data_helper.ExternalDataInfo(t) for t in found.graph.initializer if t.external_data}
    assert {"small", "turn"} < set(info)
    assert "tiny" not in info
    assert all(one.offset % 64 == 0 for one in info.values())
    large_ones = [one for one in info.values() if one.length == 1 << 20]
    assert {one.offset for one in large_ones} == {24576}
    assert (folder / "w.bin").stat().st_size == 24576 + (1 << 20)


@pytest.mark.parametrize("folder", ["", "net/", "a/b/"])
def test_names_are_kept_and_data_goes_to_the_first_file(written, folder):
    model = sound()
    model.graph.node[0].CopyFrom(helper.make_node("Add", ["x", "b"], ["t"]))
    model.graph.node.append(helper.make_node("MatMul", ["t", "a"], ["y"]))
    model.graph.output[0].CopyFrom(value("y", 400))
    model.graph.initializer.extend([external("b", f(2), "z.bin"), external("a", f(2, 400), "a.bin")])
    entries = {"m.onnx": model, "z.bin": f(2).tobytes(), "a.bin": f(2, 400).tobytes()}

    content = written({folder + name: part for name, part in entries.items()})

    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == [f"{folder}m.onnx", f"{folder}z.bin"]
        found = onnx.ModelProto.FromString(archive.read(f"{folder}m.onnx"))
    assert {t.name: bool(t.external_data) for t in found.graph.initializer} == {"b": False, "a": True}
    assert [e.value for t in found.graph.initializer for e in t.external_data] == ["z.bin", "0", "3200"]


def test_a_model_without_external_data_comes_back_alone(written):
    content = written({"net.onnx": conv_norm()})

    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == ["net.onnx"]
        onnx.checker.check_model(onnx.ModelProto.FromString(archive.read("net.onnx")), full_check=True)


def test_constants_inner_graphs_functions_and_packed_elements_may_lie_outside(read):
    weight, packed = f(100, 100), np.arange(40_000, dtype=np.uint8)
    inner = helper.make_graph(
        [helper.make_node("Relu", ["i"], ["t"])], "t", [], [value("t", 2)], [external("i", f(2), "i", length=8)]
    )
    body = [
        helper.make_node("Constant", [], ["c"], value=external("", weight, "c")),
        helper.make_node("MatMul", ["v", "c"], ["u"]),
    ]
    double = external("int4", packed, "p")
    double.data_type, double.dims[0] = TensorProto.INT4, 80_000
    model = sound(double)
    nodes = [
        helper.make_node("Constant", [], ["k"], value=external("", weight, "k")),
        helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("Outside", ["x"], ["r"], domain="own"),
    ]
    model.graph.node.extend(nodes)
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Outside", ["v"], ["u"], body, opset))
    model.opset_import.append(helper.make_opsetid("own", 1))
    data = weight.tobytes()

    file = read({"m.onnx": model, "i": f(2).tobytes(), "c": data, "k": data, "p": packed.tobytes()})

    constants = [name for name, tensor in file.tensors.items() if isinstance(tensor.storage.source, FileBytes)]
    assert len(constants) == 2
    assert all(np.array_equal(file.tensors[name].read().numpy(), weight) for name in constants)
    assert file.model.graph.initializer[0].raw_data == packed.tobytes()
    assert b"external" not in file.model.SerializeToString()
    assert len(file.model.graph.node[2].attribute[0].g.initializer[0].raw_data) == 8


ARRAY = f(100, 50)
BYTES = ARRAY.tobytes()


@pytest.mark.parametrize(
    "where",
    [
        "../w.bin",
        "../../etc/passwd",
        "/etc/passwd",
        "./w.bin",
        "W.BIN",
        "a/../w.bin",
        "https:" + "//w.bin",
        "",
        "m.onnx",
    ],
)
def test_a_location_is_the_name_of_a_data_file_of_the_archive_or_nothing(read, where, monkeypatch):
    tensors = [external("w", ARRAY, where), external("v", ARRAY)]
    content = pack({"net/m.onnx": sound(*tensors), "net/w.bin": BYTES})

    with pytest.raises(UnsupportedContent, match="no file of that name is next to the model") as caught:
        read(content)
    assert "side by side" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"offset": 1}, "needs 20,000 bytes, it has 19,999"),
        ({"offset": 20_001}, "which has 20,000"),
        ({"offset": 4, "length": 20_000}, "bytes 4 to 20,004 of 'w.bin', which has 20,000"),
        ({"length": 20_001}, "which has 20,000"),
        ({"length": 19_999}, "needs 20,000 bytes"),
        ({"offset": 1 << 62}, "no number"),
        ({"offset": 10**17}, "which has 20,000"),
        ({"offset": -4}, "'-4', which is no number"),
        ({"offset": "0x0"}, "no number"),
        ({"length": "\u0661"}, "no number"),
        ({"length": ""}, "no number"),
        ({"basepath": "/etc"}, "keys basepath, location"),
    ],
)
def test_a_place_that_is_not_in_the_data_file_is_refused(read, said, message):
    with pytest.raises(MalformedFile, match=message):
        read({"m.onnx": sound(external("w", ARRAY, **said)), "w.bin": BYTES})


def test_a_place_that_is_doubtful_is_refused(read):
    twice, both, half, nowhere = (external("w", ARRAY) for _ in range(4))
    twice.external_data.add(key="location", value="other")
    both.raw_data = BYTES
    half.data_location = TensorProto.DEFAULT
    del nowhere.external_data[:]
    for tensor, message in ((twice, "twice"), (both, "several"), (half, "in part"), (nowhere, "keys none")):
        with pytest.raises(MalformedFile, match=message):
            read({"m.onnx": sound(tensor), "w.bin": BYTES})


def test_files_that_the_model_does_not_name_are_refused_by_name(read):
    model = sound(external("w", ARRAY))
    with pytest.raises(UnsupportedContent, match=r"2 files that the model does not name: readme\.md, run\.sh"):
        read({"m.onnx": model, "w.bin": BYTES, "readme.md": b"", "run.sh": b""})
    with pytest.raises(UnsupportedContent, match="not next to the model: other/x"):
        read({"net/m.onnx": model, "net/w.bin": BYTES, "other/x": b""})
    with pytest.raises(UnsupportedContent, match="no file of that name"):
        read({"m.onnx": model})


def test_an_archive_that_is_packed_in_another_way_is_told_how(read, tmp_path):
    entries = {"m.onnx": sound(external("w", ARRAY)), "w.bin": BYTES}
    for content, message in (
        (pack(entries, zipfile.ZIP_DEFLATED), "'m.onnx' is compressed"),
        (pack({"net/": b"", **entries}), "folder 'net/'"),
    ):
        with pytest.raises(UnsupportedContent, match=message) as caught:
            read(content)
        assert "zip -0" in caught.value.remedy


def test_a_wrong_crc_and_bytes_between_entries_are_refused(read):
    content = pack({"m.onnx": sound(external("w", ARRAY)), "w.bin": BYTES})
    at = content.index(BYTES)
    with pytest.raises(MalformedFile, match="CRC-32") as caught:
        read(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert "Pack" in caught.value.remedy
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", content, end + 16)[0]
    shifted = content[end : end + 16] + struct.pack("<I", start + 5) + content[end + 20 :]
    with pytest.raises(MalformedFile, match="unused bytes") as caught:
        read(content[:start] + b"extra" + content[start:end] + shifted)
    assert "zip -0" in caught.value.remedy


def test_overlapping_tensors_are_read_up_to_a_limit(read):
    shift = [external(f"w{n}", ARRAY[:90], offset=200 * n, length=18_000) for n in range(10)]
    entries = {"m.onnx": sound(*shift), "w.bin": BYTES}

    file = read(entries)

    assert np.array_equal(file.tensors["w3"].read().numpy(), ARRAY[3:93])
    with pytest.raises(TooLarge, match="overlap"):
        read(entries, Limits(max_repeated=100_000))
    same = [external(f"w{n}", ARRAY) for n in range(1000)]
    assert len(read({"m.onnx": sound(*same), "w.bin": BYTES}, Limits(max_repeated=0)).tensors) == 1000


def test_more_bytes_than_the_limits_are_too_large(read):
    entries = {"m.onnx": sound(external("w", ARRAY), external("v", f(2), "v")), "w.bin": BYTES, "v": f(2).tobytes()}
    with pytest.raises(TooLarge, match="tensor 'w'"):
        read(entries, Limits(max_tensor_bytes=1000))
    with pytest.raises(TooLarge, match="records in the archive"):
        read(entries, Limits(max_entries=2))
    small = [external(f"w{n}", ARRAY[:50], length=10_000) for n in range(20)]
    with pytest.raises(TooLarge, match="external tensors that are small"):
        read({"m.onnx": sound(*small), "w.bin": BYTES}, Limits(max_graph_bytes=100_000))


@pytest.mark.parametrize("inside", [False, True], ids=["archive", "model"])
def test_a_mutated_archive_is_read_and_written_or_ends_in_an_app_error(read, tmp_path, inside):
    model = sound(external("w", ARRAY, length=20_000, offset=0)).SerializeToString()
    content, source, refused = pack({"m.onnx": model, "w.bin": BYTES}), random.Random(5), 0
    for _ in range(300):
        mutant = pack({"m.onnx": changed(model, source), "w.bin": BYTES}) if inside else changed(content, source)
        try:
            file = read(mutant)
            program = follow(file.model, file.tensors, {"x": (2,)})
            write_onnx_archive(file, program, program.graph, tmp_path / "target.zip")
        except AppError:
            refused += 1
    assert refused > 100


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
def test_what_zip_makes_as_the_remedy_says_is_read(tmp_path):
    saved(conv_norm(), tmp_path / "made", location="net.data")
    names = ["made/net.onnx", "made/net.data"]
    subprocess.run(["zip", "-q", "-0", "-j", "net.zip", *names], cwd=tmp_path, check=True)
    subprocess.run(["zip", "-q", "-0", "-D", "-r", "tree.zip", "made"], cwd=tmp_path, check=True)

    for name in ("net.zip", "tree.zip"):
        assert detect_file(tmp_path / name).code == "onnx-zip"
        assert len(read_onnx_archive(MappedFile(tmp_path / name), Limits()).tensors) == 7
