"""A file is known by its content, and one that can't be read is told what it is."""

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from app.engine.formats import GRAPH_KINDS, WEIGHT_KINDS, detect_file, read_file
from app.errors import MalformedFile, UnsupportedFormat


def archive_of(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


def saved(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def tar_of(name):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


@pytest.fixture
def traced():
    with torch.no_grad():
        return torch.jit.script(torch.nn.Conv2d(1, 1, 1))


CONTENTS = {
    "pt2": archive_of("m/archive_format", "m/models/model.json"),
    "torchscript": archive_of("m/data.pkl", "m/constants.pkl", "m/code/x.py"),
    "torch-package": archive_of("m/.data/extern_modules", "m/data.pkl"),
    "npz": saved(lambda stream: np.savez(stream, a=np.ones(2))),
    "zip": archive_of("readme.txt"),
    "onnx-zip": archive_of("net/model.onnx", "net/model.onnx.data"),
    "safetensors-zip": archive_of("net/model.safetensors.index.json", "net/model-1.safetensors"),
    "safetensors": (2).to_bytes(8, "little") + b"{}",
    "onnx": b"\x08\x08\x12\x07pytorch:\x00",
    "tar": tar_of("storages"),
    "gzip": gzip.compress(b"x"),
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\x00" * 100,
    "pickle": pickle.dumps({"a": 1}),
    "unknown": b"hello",
}


READ = {kind.code for kind in (*GRAPH_KINDS, *WEIGHT_KINDS)}


@pytest.mark.parametrize("kind", [kind for kind in CONTENTS if kind not in READ])
def test_a_file_that_is_not_read_is_named_with_what_to_upload_instead(tmp_path, kind):
    (tmp_path / "model.pt").write_bytes(CONTENTS[kind])

    with pytest.raises(UnsupportedFormat) as caught:
        read_file(tmp_path / "model.pt")

    assert caught.value.facts["kind"] == kind
    assert caught.value.remedy


@pytest.mark.parametrize("kind", sorted(READ))
def test_files_of_other_readers_are_known(tmp_path, kind):
    (tmp_path / "model.pt").write_bytes(CONTENTS[kind])

    assert detect_file(tmp_path / "model.pt").code == kind
    assert detect_file(tmp_path / "model.pt").code == kind


def test_an_archive_of_two_onnx_models_is_told_to_come_as_two(tmp_path):
    (tmp_path / "model.zip").write_bytes(archive_of("a.onnx", "b.onnx"))

    with pytest.raises(UnsupportedFormat, match="several ONNX models") as caught:
        read_file(tmp_path / "model.zip")

    assert "each in an archive" in caught.value.remedy


def test_a_real_safetensors_file_is_known(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "x.pt")

    assert detect_file(tmp_path / "x.pt").code == "safetensors"


@pytest.mark.filterwarnings("ignore")
def test_a_real_torchscript_archive_says_export(tmp_path, traced):
    traced.save(str(tmp_path / "x.pt"))

    with pytest.raises(UnsupportedFormat, match="TorchScript") as caught:
        read_file(tmp_path / "x.pt")

    assert ".pt2 or ONNX" in caught.value.remedy


@pytest.mark.filterwarnings("ignore")
def test_a_real_export_archive_is_known(tmp_path):
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(program, tmp_path / "x.pt2")

    assert detect_file(tmp_path / "x.pt2").code == "pt2"


@pytest.mark.parametrize(("zipped", "kind"), [(True, "torch-zip"), (False, "torch-legacy")])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_checkpoints_are_known_whatever_they_are_called(tmp_path, zipped, kind, protocol):
    torch.save([1], tmp_path / "x.onnx", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)

    assert detect_file(tmp_path / "x.onnx").code == kind
    assert read_file(tmp_path / "x.onnx").root == [1]


def test_an_empty_file_is_malformed(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"")

    with pytest.raises(MalformedFile, match="empty"):
        read_file(tmp_path / "x.pt")
