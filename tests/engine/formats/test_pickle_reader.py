"""Each way in which a pickle can be wrong or hostile ends in its named error; nothing in it ever runs."""

import os
import pickle
import struct
import time
import zipfile

import pytest
import torch

from app.engine.formats import Limits, read_file
from app.engine.formats.persistent_ids import PersistentIds
from app.engine.formats.pickle_reader import read_pickle
from app.engine.ir.node import MISSING, Global, Object
from app.engine.ir.tensors import MemoryBytes
from app.errors import MalformedFile, TooLarge, UnsupportedContent

SMALL = Limits(
    max_depth=50,
    max_memo=1000,
    max_objects=5000,
    max_operations=50_000,
    max_complex_keys=20,
    max_repeated=50,
    max_pairs=5000,
)


def read(pickled, limits=SMALL, nbytes=40):
    def open_bytes(key, expected):
        return MemoryBytes(torch.zeros(nbytes, dtype=torch.uint8))

    return read_pickle(pickled, 0, limits, PersistentIds(open_bytes, limits)).root


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def storage(kind=b"ctorch\nFloatStorage\n", numel=b"K\x0a", key="0"):
    return b"(" + text("storage") + kind + text(key) + text("cpu") + numel + b"tQ"


def tensor(geometry, rebuild=b"ctorch._utils\n_rebuild_tensor_v2\n"):
    return rebuild + b"(" + storage() + geometry + b"\x89ccollections\nOrderedDict\n)RtR."


class Gadget:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_in_a_pickle_is_recorded_and_never_made(tmp_path, protocol):
    canary = tmp_path / "canary"

    root = read(pickle.dumps([Gadget(canary)], protocol=protocol))

    assert not canary.exists()
    assert (root[0].origin.name, root[0].args, root[0].how) == ("system", (f"touch {canary}",), "reduce")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_in_a_checkpoint_is_recorded_and_never_made(tmp_path, zipped):
    canary = tmp_path / "canary"
    torch.save({"a": torch.ones(2), "b": Gadget(canary)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)

    file = read_file(tmp_path / "x.pt")

    assert not canary.exists()
    assert "posix.system" in file.globals


def test_values_are_what_cpython_reads_with_every_protocol():
    value = [None, True, 1, -1, 255, 65536, 2**70, 1.5, "text\n\u20ac\\", b"\x00\xff", (1,), (1, 2), (1, 2, 3, 4), [[]]]
    value += [{"a": (), 2: None, (1, "x"): 0.25}, "x" * 300, -(2**31), float("inf")]
    for protocol in range(3, 6):
        assert read(pickle.dumps(value, protocol)) == value
    for protocol in range(3):
        plain = [part for part in value if not isinstance(part, bytes)]
        assert read(pickle.dumps(plain, protocol)) == plain
    sets = [{1, 2}, frozenset({"a"}), bytearray(b"abc")]
    assert read(pickle.dumps(sets, 5)) == sets


def test_an_object_is_memoised_before_its_state():
    root = read(b"\x80\x02cm\nC\n)\x81q\x00}q\x01" + text("self") + b"h\x00sb.")

    assert root.origin == Global("m", "C")
    assert root.state == {"self": root}


def test_names_are_never_looked_up_and_stay_as_written():
    root = read(b"\x80\x02(c__builtin__\neval\nccopy_reg\n_reconstructor\ncno.such\nmodule.__globals__\nt.")

    assert [name.path for name in root] == ["__builtin__.eval", "copy_reg._reconstructor", "no.such.module.__globals__"]


MALFORMED = {
    "empty": b"",
    "no stop": b"\x80\x02N",
    "two values": b"NN.",
    "nothing": b".",
    "open mark": b"N(.",
    "unknown operation": b"\xff.",
    "protocol 9": b"\x80\x09N.",
    "protocol late": b"N\x80\x02.",
    "cut integer": b"J\x00\x00",
    "cut string": b"X\xff\x00\x00\x00abc",
    "negative length": b"T\xff\xff\xff\xffabc.",
    "8 GB bytearray": b"\x96" + struct.pack("<Q", 8 << 30) + b"abc",
    "huge bytes": b"\x8e" + struct.pack("<Q", 1 << 63) + b"abc",
    "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "crossed frame": b"\x80\x04\x95" + struct.pack("<Q", 3) + b"J\x00\x00\x00\x00.",
    "frame in frame": b"\x80\x04\x95" + struct.pack("<Q", 9) + b"\x95" + struct.pack("<Q", 0) + b"N.",
    "bad utf-8": b"X\x01\x00\x00\x00\xff.",
    "bad utf-8 name": b"c\xff\nx\n.",
    "bad float": b"Fabc\n.",
    "bad integer": b"I12x\n.",
    "endless digits": b"I" + b"9" * 5000 + b"\n.",
    "wide integer": b"\x8b\x00\x10\x00\x00" + b"\x01" * 4096 + b".",
    "unquoted": b"Sabc\n.",
    "odd escape": b"S'\\q'\n.",
    "line without end": b"Vabc",
    "missing memo": b"h\x05.",
    "negative memo": b"g-1\n.",
    "wide memo": b"Np" + b"9" * 30 + b"\n.",
    "empty stack tuple": b"\x86.",
    "empty stack put": b"q\x00.",
    "empty stack append": b"a.",
    "pop mark": b"1.",
    "append to a tuple": b")Na.",
    "append to a number": b"K\x01Na.",
    "appends to a dict": b"}(Ne.",
    "setitem on a list": b"]NNs.",
    "odd pairs": b"}(Nu.",
    "list as key": b"}]Ns.",
    "dict as key": b"}}Ns.",
    "list in a key": b"}]\x85Ns.",
    "deep key": b"}" + b"K\x01" + b"\x85" * 10 + b"Ns.",
    "many members in a key": b"}(" + b"".join(b"M" + struct.pack("<H", n) for n in range(300)) + b"\x91Ns.",
    "set in a set": b"\x8f(\x8f\x90.",
    "list in a frozenset": b"(]\x91.",
    "additems on a list": b"](N\x90.",
    "build on a list": b"]}b.",
    "build on a name": b"cm\nC\n}b.",
    "build twice": b"cm\nC\n)\x81}b}b.",
    "pairs after state": b"cm\nC\n)\x81}bNNs.",
    "items after state": b"cm\nC\n)\x81}bNa.",
    "items after pairs": b"cm\nC\n)\x81NNsNa.",
    "a state that grows": b"cm\nC\n)\x81}q\x00bh\x00K\x01K\x02s\x86.",
    "a state of slots that grows": b"cm\nC\n)\x81N}q\x00\x86bh\x00K\x01K\x02s\x86.",
    "a state by a setter that grows": b"cm\nC\n)\x81q\x00cm\nf\nh\x00}q\x01\x86R0h\x01K\x01K\x02s\x86.",
    "members that come late": b"cbuiltins\nset\n]q\x00\x85Rh\x00K\x01a\x86.",
    "late members of a set": b"cbuiltins\nset\n\x8fq\x00\x85Rh\x00(K\x01\x90\x86.",
    "dropped call": b"cm\nC\n)\x81cm\nf\nK\x01\x85R0.",
    "state set on another object": b"cm\nC\n)\x81q\x00cm\nC\n)\x81cm\nf\nh\x00N\x86R0\x86.",
    "state set twice": b"cm\nC\n)\x81q\x00}bcm\nf\nh\x00N\x86R0.",
    "call a string": text("os.system") + b")R.",
    "call a list": b"])R.",
    "arguments are a list": b"cm\nC\n]R.",
    "newobj on a number": b"K\x01)\x81.",
    "keywords are a list": b"cm\nC\n)]\x92.",
    "keywords are numbers": b"cm\nC\n)}K\x01Ns\x92.",
    "global of numbers": b"K\x01K\x02\x93.",
    "empty global": b"c\n\n.",
    "line break in a global": text("a\nb") + text("c") + b"\x93.",
    "long global": text("a" * 5000) + text("c") + b"\x93.",
    "persistent id": b"NQ.",
    "strange persistent id": b"(" + text("storage") + b"NNNNtQ.",
    "not a storage class": storage(kind=b"cos\nsystem\n") + b".",
    "prefix of a storage class": storage(kind=b"ctorch\nFloatStorageX\n") + b".",
    "negative storage": storage(numel=b"J\xff\xff\xff\xff") + b".",
    "true storage": storage(numel=b"\x88") + b".",
    "storage of two kinds": storage() + storage(kind=b"ctorch\nLongStorage\n") + b"\x86.",
    "storage of two sizes": storage() + storage(numel=b"K\x05") + b"\x86.",
    "class with source outside legacy files": b"(" + text("module") + b"cm\nC\nNNtQ.",
    "ordered dict of a number": b"ccollections\nOrderedDict\nK\x01\x85R.",
    "ordered dict of triples": b"ccollections\nOrderedDict\n]K\x01K\x02K\x03\x87a\x85R.",
    "ordered dict with lists as keys": b"ccollections\nOrderedDict\n]]N\x86a\x85R.",
    "tensor without arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "tensor as a class": b"ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
    "parameter of nothing": b"ctorch._utils\n_rebuild_parameter\nN\x88N\x87R.",
    "view behind the end": tensor(b"K\x01K\x0a\x85K\x01\x85"),
    "stride behind the end": tensor(b"K\x00K\x05\x85K\x03\x85"),
    "negative offset": tensor(b"J\xff\xff\xff\xffK\x05\x85K\x01\x85"),
    "negative size": tensor(b"K\x00J\xff\xff\xff\xff\x85K\x01\x85"),
    "negative stride": tensor(b"K\x00K\x02\x85J\xff\xff\xff\xff\x85"),
    "2^40 elements on 40 bytes": tensor(b"K\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x85K\x00\x85"),
    "2^25 elements on 40 bytes": tensor(b"K\x00J\x00\x00\x00\x02\x85K\x00\x85"),
    "overflowing sizes": tensor(b"K\x00\x8a\x09" + b"\x00" * 8 + b"\x01K\x00\x86K\x01K\x01\x86"),
    "two strides for one size": tensor(b"K\x00K\x02\x85K\x01K\x01\x86"),
    "65 dimensions": tensor(b"K\x00(" + b"K\x01" * 65 + b"t(" + b"K\x01" * 65 + b"t"),
    "sizes are a list": tensor(b"K\x00]]"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_pickle_is_named_with_its_place(name):
    with pytest.raises(MalformedFile) as caught:
        read(MALFORMED[name])

    assert "byte " in caught.value.detail


REFUSED = {
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\no.",
    "PERSID": b"P0\n.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"N\x98.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_operations_that_reach_outside_the_pickle_are_refused(name):
    with pytest.raises(UnsupportedContent, match=name):
        read(REFUSED[name])


def nested_tuples(depth):
    return b"N" + b"\x85" * depth + b"."


TOO_LARGE = {
    "operations": b"N0" * 30_000 + b"N.",
    "memo": b"N" + b"\x94" * 1500 + b".",
    "objects": b"]0" * 6000 + b"N.",
    "marks": b"(" * 60 + b".",
    "tuples nested inside out": nested_tuples(60),
    "lists nested by memo": b"]" * 60 + b"a" * 59 + b".",
    "states nested": b"cm\nC\n)\x81" * 60 + b"b" * 59 + b".",
    "dictionaries nested": b"}" + b"N}" * 59 + b"s" * 59 + b".",
    "tuples as keys": b"}" + b"".join(b"K" + bytes([n]) + b"\x85Ns" for n in range(30)) + b".",
    "colliding integers as keys": b"}"
    + b"".join(b"\x8a\x0a" + ((2**61 - 1) * n).to_bytes(10, "little") + b"Ns" for n in range(10, 40))
    + b".",
    "one list of pairs given to many": b"]q\x00("
    + b"]K\x01aNa" * 500
    + b"e0"
    + b"ccollections\nOrderedDict\nh\x00\x85R0" * 100
    + b"N.",
    "tensors that repeat their storage": b"(" + tensor(b"K\x00K\x14\x85K\x00\x85")[:-1] * 3 + b"t.",
    "a storage beyond the limit": storage(numel=b"\x8a\x05\x00\x00\x00\x00\x40") + b".",
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_every_limit_ends_the_reading_with_value_and_limit(name):
    with pytest.raises(TooLarge) as caught:
        read(TOO_LARGE[name])

    assert "limit is" in caught.value.detail
    assert caught.value.facts["value"] > caught.value.facts["limit"]


def test_a_pickle_above_its_byte_limit_is_too_large():
    with pytest.raises(TooLarge, match="bytes of the pickle"):
        read(b"(" + b"N" * 100 + b"t.", Limits(max_pickle_bytes=50))
    with pytest.raises(TooLarge, match="bytes of the pickle"):
        read(text("x" * 100) + b".", Limits(max_pickle_bytes=50))


def test_a_tuple_that_holds_another_twice_many_times_over_is_no_key():
    doubled = b"}K\x01" + b"q\x00h\x00\x86" * 60 + b"Ns."
    start = time.process_time()

    with pytest.raises(MalformedFile, match="key"):
        read(doubled)

    assert time.process_time() - start < 1


def test_a_million_operations_deep_chain_ends_quickly_and_without_recursion():
    start = time.process_time()

    with pytest.raises(TooLarge, match="nesting"):
        read(nested_tuples(1_000_000), Limits(max_objects=2_000_000))

    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.sparse_coo_tensor([[0]], [1.0], (2,)),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.ones(2, dtype=torch.complex64).conj(),
        lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
        lambda: torch.ones(2, device="meta"),
    ],
    ids=["sparse", "quantised", "conjugate", "negative", "meta"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain_are_refused_by_name(tmp_path, make):
    torch.save({"a": torch.ones(2), "b": make()}, tmp_path / "x.pt")

    with pytest.raises(UnsupportedContent, match="_rebuild_") as caught:
        read_file(tmp_path / "x.pt")

    assert len(caught.value.facts["names"]) == 1


class Wrapped(torch.Tensor):
    pass


def test_a_tensor_subclass_is_refused_by_name(tmp_path):
    torch.save(torch.ones(2).as_subclass(Wrapped), tmp_path / "x.pt")

    with pytest.raises(UnsupportedContent, match="Wrapped"):
        read_file(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("kind", "numel", "message"),
    [(b"FloatStorage", b"K\x0b", "44 in the pickle"), (b"DoubleStorage", b"K\x0a", "80 in the pickle")],
)
def test_a_storage_of_another_size_than_its_record_is_malformed(tmp_path, kind, numel, message):
    torch.save(torch.ones(10), tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    records["x/data.pkl"] = b"\x80\x02" + storage(b"ctorch\n" + kind + b"\n", numel) + b"."
    with zipfile.ZipFile(tmp_path / "y.pt", "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)

    with pytest.raises(MalformedFile, match=message):
        read_file(tmp_path / "y.pt")


def test_an_object_without_state_says_so():
    assert read(b"cm\nC\n)\x81.").state is MISSING
    assert isinstance(read(b"cm\nC\n)RN\x85R."), Object)
