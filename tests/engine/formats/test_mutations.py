"""Whatever bytes change, reading and writing end in success or in an AppError."""

import random
import zipfile

import pytest
import torch
from torch import nn

from app.engine.formats import Limits, read_file, write_file
from app.errors import AppError, MalformedFile


def changed(content, source):
    """Some bytes flipped, removed, doubled or cut off."""
    mutant = bytearray(content)
    kind = source.choice(["flip", "flip", "flip", "cut", "drop", "double", "swap"])
    at = source.randrange(len(mutant))
    if kind == "flip":
        for _ in range(source.choice([1, 1, 2, 5])):
            mutant[source.randrange(len(mutant))] = source.randrange(256)
    elif kind == "cut":
        del mutant[at:]
    elif kind == "drop":
        del mutant[at : at + source.randrange(1, 9)]
    elif kind == "double":
        mutant[at:at] = mutant[at : at + source.randrange(1, 40)]
    else:
        other = source.randrange(len(mutant))
        mutant[at], mutant[other] = mutant[other], mutant[at]
    return bytes(mutant)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_mutated_file_ends_in_success_or_an_app_error(tmp_path, zipped, protocol):
    path = tmp_path / "x.pt"
    value = {"model": nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), "epoch": 3}
    torch.save(value, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    content, source = path.read_bytes(), random.Random(7)
    refused = 0
    for _ in range(300):
        path.write_bytes(changed(content, source))
        try:
            file = read_file(path, Limits(max_tensor_bytes=1 << 20))
            write_file(file, file.root, tmp_path / "y.pt")
        except AppError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_mutated_pickle_in_a_sound_archive_ends_in_success_or_an_app_error(tmp_path, protocol):
    path = tmp_path / "x.pt"
    value = {"model": nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), "epoch": 3, "keys": {(1, 2): {1}, b"x": 0}}
    torch.save(value, path, pickle_protocol=protocol)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    source, refused = random.Random(11), 0
    for _ in range(300):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(name, changed(content, source) if name.endswith("data.pkl") else content)
        try:
            file = read_file(path)
            write_file(file, file.root, tmp_path / "y.pt")
        except AppError:
            refused += 1
    assert refused > 100


def test_a_legacy_file_cut_anywhere_is_malformed(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(20, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(MalformedFile):
            read_file(path)
    path.write_bytes(content + b"x")
    with pytest.raises(MalformedFile, match="behind the last storage"):
        read_file(path)
