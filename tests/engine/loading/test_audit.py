"""What a loader would run is found by name, whatever way the pickle takes to it; what builds a model passes."""

import argparse
import collections
import datetime
import decimal
import fractions
import functools
import importlib.metadata
import lzma
import os
import pathlib
import pickle
import re
import subprocess
import types

import numpy as np
import pytest
import torch
from torch import nn

from app.engine import inspect_checkpoint
from app.engine.formats import TorchFile, read_file
from app.engine.formats.limits import Limits
from app.engine.formats.persistent_ids import PersistentIds
from app.engine.formats.pickle_reader import read_pickle
from app.engine.ir.node import Global
from app.engine.ir.tensors import MemoryBytes
from app.engine.loading import Allowed, check_loading, unsafe_names
from app.engine.loading.names import is_held
from app.errors import UnsafeGlobals
from tests.engine.nets import Unknown, fuse, norm

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "data"
SHARED = DATA.parent.parent.parent / "shared" / "checkpoints"
X = torch.randn(2, 3, 8, 8)


def found(pickled: bytes, *allowed: str) -> tuple[str, ...]:
    """The unsafe names of a bare pickle."""
    persistent = PersistentIds(lambda key, nbytes: MemoryBytes(torch.zeros(nbytes, dtype=torch.uint8)), Limits())
    read = read_pickle(pickled, 0, Limits(), persistent)
    file = TorchFile("torch-zip", read.root, (), read.globals, read.objects, read.protocol)
    return unsafe_names(file, Allowed.of(allowed))


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


class Plain:
    """An object of a user's own class, which pickles without a call."""


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU())


@pytest.mark.parametrize("path", sorted(DATA.rglob("*.pt.xz")), ids=lambda path: path.name)
def test_real_checkpoints_of_all_code_bases_hold_nothing_that_a_loader_would_run(path, tmp_path):
    (tmp_path / "x.pt").write_bytes(lzma.decompress(path.read_bytes()))

    check_loading(read_file(tmp_path / "x.pt"), Allowed())


@pytest.mark.parametrize("path", sorted([*DATA.rglob("*.pt"), *SHARED.rglob("*.pt")]), ids=lambda path: path.name)
def test_checkpoints_that_are_not_packed_hold_nothing_either(path):
    check_loading(read_file(path), Allowed())


def optimizer() -> torch.optim.Optimizer:
    """One that has made a step."""
    layer = nn.Linear(1, 1)
    made = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 1)).sum().backward()
    made.step()
    return made


class Method(nn.Conv2d):
    """As code leaves a convolution whose inner forward it has wrapped and given back."""

    def __init__(self) -> None:
        super().__init__(1, 1, 1)
        self._conv_forward = self._conv_forward


VALUES = {
    "numbers": [np.float64(1.5), np.int64(2), np.arange(6.0).reshape(2, 3), np.dtype("float32")],
    "namespaces": [argparse.Namespace(a=1), types.SimpleNamespace(b=2), collections.OrderedDict(c=3)],
    "collections": [collections.defaultdict(list, a=[1]), collections.Counter("aab"), collections.deque([1], 3)],
    "times": [
        datetime.datetime(2026, 1, 2),
        datetime.timedelta(1),
        decimal.Decimal("1.5"),
        pathlib.PurePosixPath("a/b"),
    ],
    "sets and bytes": [{1, 2}, frozenset({"a"}), b"bytes", bytearray(b"more"), range(3), slice(1, 2), 1j],
    "torch": [
        torch.Size([1, 2]),
        torch.float16,
        torch.device("cpu"),
        nn.Parameter(torch.ones(2)),
        torch.arange(4)[1:3],
    ],
    "classes and functions": [nn.Conv2d, Plain, nn.functional.relu, torch.relu, int, model],
    "a layer to be made": functools.partial(nn.LayerNorm, eps=1e-6),
    "objects of the user": [Plain(), Unknown(m=nn.ReLU())],
    "a tensor with attributes": nn.Buffer(torch.ones(2)),
    "a method put in its own place": Method(),
    "fractions and ranges": [fractions.Fraction(-3, 4), range(10), slice(None, 3)],
    "times, texts and records": [
        np.datetime64("2026-01-01"),
        np.array(["a", "bc"]),
        np.zeros(2, [("a", "f4"), ("b", "U3")]),
    ],
    "a network with states of its own": nn.LSTM(2, 3, num_layers=2, bidirectional=True),
    "an optimizer itself": [optimizer(), torch.optim.lr_scheduler.CosineAnnealingLR(optimizer(), 3)],
    "a scaler of gradients": torch.amp.GradScaler("cpu"),
    "an observer": torch.ao.quantization.MinMaxObserver(),
    "a distribution": torch.distributions.Normal(0.0, 1.0),
    "a parametrisation": nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)).parametrizations.state_dict(),
    "an optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1).state_dict(),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", VALUES)
def test_values_layers_and_objects_of_the_user_pass(kind, protocol, tmp_path):
    torch.save({"model": model(), "more": VALUES[kind]}, tmp_path / "x.pt", pickle_protocol=protocol)

    assert unsafe_names(read_file(tmp_path / "x.pt"), Allowed()) == ()


UNSAFE = {
    "a call of the system": (Call(os.system, "true"), "posix.system"),
    "a call of a builtin": (Call(eval, "1"), "eval"),
    "a call of the user's own function": (Call(model), "test_audit.model"),
    "a call of the user's own class": (Call(Plain), "test_audit.Plain"),
    "a call of a call": (Call(functools.partial, print, state=(print, (), {}, None)), "functools.partial"),
    "a partial of another name than its argument": (
        Call(functools.partial, nn.ReLU, state=(os.system, ("true",), {}, None)),
        "functools.partial",
    ),
    "an attribute by its name": (Call(getattr, os, "system"), "getattr"),
    "an array without its type": (Call(np.frombuffer, b"1234"), "frombuffer"),
    "a dictionary that makes what it lacks": (collections.defaultdict(subprocess.Popen), "Popen"),
    "a function of the system as a value": ({"forward": os.system}, "posix.system"),
    "a nested load": (Call(torch.storage._load_from_bytes, b""), "torch.storage._load_from_bytes"),
    "a hub": (Call(torch.hub.load, "a", "b"), "torch.hub.load"),
    "a class that closes what it is told": (Call(object.__new__, subprocess.Popen), "Popen"),
}


class _Names(pickle._Pickler):
    """Saves modules by their name, as no real pickler does."""

    def save(self, value, save_persistent_id=True):
        if isinstance(value, types.ModuleType):
            self.write(b"c" + value.__name__.encode() + b"\npath\n")
        else:
            super().save(value, save_persistent_id)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", UNSAFE)
def test_callables_beyond_building_a_model_are_found_by_name(kind, protocol):
    import io

    value, name = UNSAFE[kind]
    out = io.BytesIO()
    _Names(out, protocol).dump({"model": 1, "x": value})

    assert any(name in one for one in found(out.getvalue())), found(out.getvalue())


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


BY_HAND = {
    "a name that is dropped at once": (named("os", "system") + b"0N.", "os.system"),
    "a call that is dropped at once": (named("os", "abort") + b")R0N.", "os.abort"),
    "a name that lies in the memo alone": (named("os", "system") + b"q\x000N.", "os.system"),
    "an object without a call": (named("subprocess", "Popen") + b")\x81.", "subprocess.Popen"),
    "an old object": (
        named("copy_reg", "_reconstructor") + named("shutil", "x") + named("builtins", "object") + b"N\x87R.",
        "shutil",
    ),
    "a strange base": (
        named("copyreg", "_reconstructor") + named("m", "C") + named("m", "Base") + b"N\x87R.",
        "_reconstructor",
    ),
    "a way through another module": (named("torch.serialization", "os.system") + b".", "torch.serialization.os.system"),
    "a way through the user's module": (named("models.common", "os.system") + b".", "models.common.os.system"),
    "globals of a function": (named("models.common", "f.__globals__") + b".", "__globals__"),
    "builtins of Python 2": (named("__builtin__", "apply") + b".", "__builtin__.apply"),
    "a module of Python 2": (named("commands", "getoutput") + b".", "commands.getoutput"),
    "a setter": (named("m", "C") + b")\x81q\x00" + named("os", "putenv") + b"h\x00N\x86R0.", "os.putenv"),
    "another encoding": (
        named("_codecs", "encode") + b"X\x01\x00\x00\x00aX\x03\x00\x00\x00evi\x86R.",
        "_codecs.encode",
    ),
    "a class that shadows": (
        named("m", "C") + b")\x81}X\x09\x00\x00\x00__class__" + named("m", "D") + b"sb.",
        "m.C.__class__",
    ),
    "a copier that shadows": (
        named("m", "C") + b")\x81}X\x0c\x00\x00\x00__deepcopy__" + named("m", "f") + b"sb.",
        "m.C.__deepcopy__",
    ),
    "a class by a slot": (
        named("m", "C") + b")\x81N}X\x09\x00\x00\x00__class__" + named("m", "D") + b"s\x86b.",
        "__class__",
    ),
    "memory of any size": (named("builtins", "bytearray") + b"\x8a\x05\x00\x00\x00\x00\x10\x85R.", "bytearray"),
    "addresses for objects": (named("numpy", "dtype") + b"X\x02\x00\x00\x00O8K\x00K\x01\x87R.", "numpy.dtype"),
    "a name that a module of torch imports": (named("torch.nn.modules.module", "functools") + b".", "functools"),
    "a name that a module of the user imports": (named("models.common", "partial") + b".", "models.common.partial"),
    "a graph in another module": (named("torch.ao.quantization.qconfig", "GraphModule") + b")\x81.", "GraphModule"),
    "a private method": (
        named("builtins", "getattr") + named("m", "C") + b"X\x08\x00\x00\x00__init__\x86R.",
        "getattr",
    ),
}


def test_what_is_installed_beside_torch_is_no_code_of_the_user():
    """Every package that torch needs, by the metadata of the installed one, but what is torch itself."""
    needed = [re.split(r"[ ;<>=!~\[(]", line)[0] for line in importlib.metadata.requires("torch") or []]
    roots = {name.replace("-", "_").lower() for name in needed} - {"optree", "opt_einsum", "pyyaml"}

    assert {"filelock", "networkx"} <= roots
    assert not [root for root in roots if not root.startswith("nvidia_") and is_held(Global(root, "Thing"))]


@pytest.mark.parametrize("kind", BY_HAND)
def test_what_no_pickler_writes_is_found_by_name(kind):
    pickled, name = BY_HAND[kind]

    assert any(name in one for one in found(pickled)), found(pickled)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_module_passes(tmp_path):
    torch.save({"model": torch.compile(model(), backend="eager")}, tmp_path / "x.pt")

    assert unsafe_names(read_file(tmp_path / "x.pt"), Allowed()) == ()


@pytest.mark.filterwarnings("ignore")
def test_a_compiler_that_the_file_names_is_found(tmp_path):
    compiled = torch.compile(model(), options={"cpp.cxx": ("/tmp/evil",)})
    torch.save(compiled, tmp_path / "x.pt")

    assert "torch._TorchCompileInductorWrapper.config" in unsafe_names(read_file(tmp_path / "x.pt"), Allowed())


def test_names_and_packages_of_the_operator_are_allowed():
    pickled = named("pkg.inner", "make") + b")R" + named("pkg", "make") + b")R\x86."

    assert found(pickled) == ("pkg.inner.make", "pkg.make")
    assert found(pickled, "pkg.make") == ("pkg.inner.make",)
    assert found(pickled, "pkg.inner.*") == ("pkg.make",)
    assert found(pickled, "pkg.*") == ()
    assert found(named("pkgs", "make") + b")R.", "pkg.*") == ("pkgs.make",)


def test_a_file_with_a_payload_is_refused_with_its_names_and_inspected_all_the_same(tmp_path):
    with pytest.raises(UnsafeGlobals) as caught:
        fuse({"model": model(), "x": Call(os.system, "true"), "y": Call(os.abort)}, tmp_path)

    assert caught.value.facts["names"] == ["posix.abort", "posix.system"]
    assert not (tmp_path / "target.pt").exists()
    seen = inspect_checkpoint(tmp_path / "source.pt", filename="source.pt")
    assert seen.unsafe_globals == ("posix.abort", "posix.system")
    assert set(seen.unsafe_globals) < set(seen.globals)


def test_state_dicts_are_looked_at_too(tmp_path):
    with pytest.raises(UnsafeGlobals):
        fuse({"state_dict": model().state_dict(), "x": Call(os.abort)}, tmp_path)


def test_the_report_lists_every_name_and_the_fused_file_holds_no_others_but_layers(tmp_path):
    result = fuse({"model": Unknown(m=model()), "args": argparse.Namespace(lr=1.0), "epoch": 3}, tmp_path)

    before, after = result.report.globals, read_file(tmp_path / "target.pt").globals
    assert before == read_file(tmp_path / "source.pt").globals
    assert {name for name in after if name not in before} <= {"torch.nn.modules.linear.Identity"}
    assert unsafe_names(read_file(tmp_path / "target.pt"), Allowed()) == ()
