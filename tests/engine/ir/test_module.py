"""An inert object seen as a torch.nn.Module, and edits of it that torch accepts."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from app.engine.formats import read_file, write_file
from app.engine.ir.module import MAX_DEPTH, Module, identity_node, is_module, module_node
from app.engine.ir.node import Global
from app.engine.pipeline import fuse_checkpoint
from app.errors import TooLarge
from app.options import FuseOptions
from tests.engine.nets import Unknown, norm


@pytest.fixture
def edited(tmp_path):
    """Save, hand the inert root to an edit, write, load."""

    def through_files(model, edit=lambda module: None):
        torch.save(model, tmp_path / "before.pt")
        file = read_file(tmp_path / "before.pt")
        edit(Module(file.root))
        write_file(file, file.root, tmp_path / "after.pt")
        return Module(file.root), torch.load(tmp_path / "after.pt", weights_only=False)

    return through_files


def test_a_module_is_read_by_its_tables(edited):
    module, _ = edited(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)))
    conv, bn = (child for _, child in module.children())
    assert [part.path for part in module.walk()] == ["", "0", "1"]
    assert conv.class_path == "torch.nn.modules.conv.Conv2d"
    assert {name: tensor.shape for name, tensor in conv.tensors()} == {"weight": (4, 3, 3, 3), "bias": (4,)}
    assert [name for name, _ in bn.parameters()] == ["weight", "bias"]
    assert bn.tensor("running_var") is not None
    assert bn.tensor("eps") is None
    assert bn.attribute("eps") == 1e-5
    assert bn.attribute("nothing", 3) == 3
    assert conv.has("weight")
    assert conv.has("stride")
    assert not conv.has("nothing")
    assert module.child("7") is None


def _hook(module, args):
    return args


def test_hooks_and_a_forward_of_its_own_are_seen(edited):
    model = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    model[0].register_forward_pre_hook(_hook)
    model[1].forward = torch.relu
    model[2].forward = model[2].extra_repr
    module, _ = edited(model)
    first, second, third = (child for _, child in module.children())
    assert first.hooks == ("_forward_pre_hooks",)
    assert second.hooks == ()
    assert (first.forward_override, second.forward_override, third.forward_override) == (None, "?", "extra_repr")


@pytest.mark.parametrize("name", ["_compiled_call_impl", "_wrapped_call_impl", "_check_input_dim"])
def test_other_methods_that_a_call_runs_are_seen_when_they_are_shadowed(name, edited, monkeypatch):
    monkeypatch.setattr(nn.Module, "__getstate__", lambda self: self.__dict__, raising=False)  # it leaves some out
    model = nn.Sequential(norm(4), norm(4))
    model[0].__dict__[name] = nn.Tanh()
    model[1].__dict__["_compiled_call_impl"] = None
    module, _ = edited(model)

    assert [child.forward_override for _, child in module.children()] == ["?", None]


@pytest.mark.parametrize("content", [3, "text", {"_parameters": {}}, [1], torch.zeros(2), slice(3)])
def test_other_things_are_no_modules(content, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    assert not is_module(read_file(tmp_path / "x.pt").root)


def test_a_written_identity_is_a_whole_module(edited):
    def edit(module):
        module.replace_child("1", identity_node(training=True))

    _, loaded = edited(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)), edit)
    assert vars(loaded[1]).keys() == vars(nn.Identity()).keys()
    assert {key: type(value) for key, value in vars(loaded[1]).items()} == {
        key: type(value) for key, value in vars(nn.Identity()).items()
    }
    loaded.eval()
    copy.deepcopy(loaded)(torch.randn(1, 3, 5, 5))


def test_classes_children_and_attributes_can_be_edited(edited):
    def edit(module):
        module.child("a").set_class(Global("torch.nn.modules.activation", "Sigmoid"))
        module.replace_child("b", None)
        module.drop("c")
        module.child("d").drop("bias")

    _, loaded = edited(Unknown(a=nn.Tanh(), b=nn.Tanh(), c=nn.Tanh(), d=nn.Linear(2, 2)), edit)
    assert isinstance(loaded.a, nn.Sigmoid)
    assert loaded.b is None
    assert not hasattr(loaded, "c")
    assert not hasattr(loaded.d, "bias")


def test_a_tree_deeper_than_the_limit_is_refused():
    def nested(depth):
        node = identity_node(training=False)
        for _ in range(depth):
            node = module_node(("torch.nn.modules.container", "Sequential"), training=False, modules={"0": node})
        return Module(node)

    assert sum(1 for _ in nested(MAX_DEPTH).walk()) == MAX_DEPTH + 1
    with pytest.raises(TooLarge, match=str(MAX_DEPTH)):
        list(nested(MAX_DEPTH + 1).walk())


def test_a_child_whose_name_no_report_could_say_is_no_child(tmp_path):
    torch.save(nn.Sequential(OrderedDict([("c\ud800", nn.Conv2d(3, 4, 3))])), tmp_path / "odd.pt")
    assert not is_module(read_file(tmp_path / "odd.pt").root)


def test_a_table_that_very_many_modules_share_is_too_large():
    table = {f"p{number}": None for number in range(2000)}
    children = {
        str(number): module_node(("m", "C"), training=False, attributes={"_parameters": table})
        for number in range(1100)
    }
    whole = Module(module_node(("m", "Net"), training=False, modules=children))

    with pytest.raises(TooLarge, match="attributes, parameters and buffers"):
        list(whole.walk())


def test_modules_that_share_a_table_are_counted_before_its_names_are_looked_at(tmp_path):
    shared = {f"buffer{number}": None for number in range(30_000)}
    model = nn.Sequential(*(nn.Identity() for _ in range(5_000)))
    for part in model:
        part._buffers = shared
    torch.save(model, tmp_path / "crowd.pt")

    with pytest.raises(TooLarge, match="attributes, parameters and buffers"):
        fuse_checkpoint(tmp_path / "crowd.pt", tmp_path / "fused.pt", FuseOptions(), filename="crowd.pt")
