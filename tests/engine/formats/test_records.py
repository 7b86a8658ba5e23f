"""What torch did not write into a zip checkpoint is not handed on."""

import zipfile

import pytest
import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.ir.checkpoint import find_model
from app.engine.ir.members import check_members
from app.errors import MalformedFile, UnsupportedContent


def with_record(path, name, content):
    torch.save({"w": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"x/{name}", content)


@pytest.mark.parametrize("name", ["torch.py", "libx.so", "model.pkl", "data/9", "__main__.py", "notes", "odd.json"])
def test_a_record_that_is_neither_the_checkpoint_s_nor_a_text_is_named(name, tmp_path):
    with_record(tmp_path / "x.pt", name, b"\xff")

    with pytest.raises(UnsupportedContent, match=name):
        read_file(tmp_path / "x.pt")


@pytest.mark.parametrize("name", [".format_version", ".data/version"])
def test_a_record_that_is_a_number_is_one(name, tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "y.pt")
    with zipfile.ZipFile(tmp_path / "y.pt") as archive:
        records = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for entry, content in {**records, f"y/{name}": b"import os"}.items():
            archive.writestr(entry, content)

    with pytest.raises(MalformedFile, match=name):
        read_file(tmp_path / "x.pt")


@pytest.mark.parametrize("key", ["weight", "bias"])
def test_an_attribute_that_shadows_a_parameter_is_named(key, tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].__dict__[key] = 1
    torch.save(model, tmp_path / "x.pt")

    with pytest.raises(MalformedFile, match=f"0.{key} is there twice"):
        check_members(find_model(read_file(tmp_path / "x.pt").root).module)


@pytest.mark.parametrize("state", [{"data": 1}, {"__class__": 1}, {"grad": None}, [1]])
def test_a_tensor_is_given_no_attribute_that_is_torch_s_own(state, tmp_path):
    weight = nn.Buffer(torch.ones(2))
    weight.__dict__.clear()
    torch.save(_Rebuilt(state), tmp_path / "x.pt")

    with pytest.raises(MalformedFile, match="attribute"):
        read_file(tmp_path / "x.pt")


class _Rebuilt:
    """Pickles as a parameter with a state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return torch._utils._rebuild_parameter_with_state, (torch.ones(2), True, {}, self.state)
