"""Who shares memory with whom, and how often a module serves."""

import torch
from torch import nn

from app.engine.formats import read_file
from app.engine.fuse.survey import survey
from app.engine.ir.module import Module
from tests.engine.nets import Unknown


def read(model, directory) -> Module:
    torch.save(model, directory / "m.pt")
    return Module(read_file(directory / "m.pt").root)


def sharing(model, directory) -> dict[str, set[str]]:
    root = read(model, directory)
    tree = survey(root)
    return {m.at(name): set(tree.sharing(tensor)) for m in root.walk() for name, tensor in m.tensors()}


def test_tensors_on_memory_of_their_own_share_with_nobody(tmp_path):
    found = sharing(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), tmp_path)
    assert found == {path: {path} for path in found}


def test_stretches_of_one_storage_are_told_apart(tmp_path):
    flat = torch.arange(20.0)
    model = Unknown(**{name: nn.Linear(2, 2, False) for name in "abcd"})
    for name, start in (("a", 0), ("b", 4), ("c", 6)):
        getattr(model, name).weight = nn.Parameter(flat[start : start + 4].view(2, 2))
    model.d.weight = nn.Parameter(flat[2:18].view(4, 4))
    found = sharing(model, tmp_path)
    assert found["a.weight"] == {"a.weight", "d.weight"}
    assert found["b.weight"] == {"b.weight", "c.weight", "d.weight"}
    assert found["d.weight"] == set(found)


def test_empty_tensors_share_nothing(tmp_path):
    model = Unknown()
    flat = torch.arange(4.0)
    model.register_buffer("empty", flat[2:2])
    model.register_buffer("all", flat)
    assert sharing(model, tmp_path)["all"] == {"all"}


def test_places_and_references_of_a_module_are_counted(tmp_path):
    shared, once = nn.ReLU(), nn.Tanh()
    model = Unknown(a=shared, b=nn.Sequential(shared, once))
    model.alias = {"last": once}
    root = read(model, tmp_path)
    tree = survey(root)
    relu, sequence = (child.node for _, child in root.children())
    tanh = root.child("b").child("1").node
    assert (tree.registered[id(relu)], tree.referenced[id(relu)]) == (2, 2)
    assert (tree.registered[id(tanh)], tree.referenced[id(tanh)]) == (1, 2)
    assert (tree.registered[id(sequence)], tree.referenced[id(sequence)]) == (1, 1)
