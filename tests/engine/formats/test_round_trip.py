"""What torch.save wrote comes back from torch.load the same, after it went through the inert tree."""

import collections
import io
import pickletools
import zipfile

import pytest
import torch
from torch import nn

from app.engine.formats import read_file, write_file
from tests.engine.formats.comparing import assert_same, tree_text
from tests.engine.formats.kinds import Net


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_model_with_every_kind_of_attribute_comes_back_the_same(round_trip, protocol, zipped):
    torch.manual_seed(0)
    net = Net(untyped=zipped)

    loaded = round_trip(net, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)

    assert_same(net, loaded)
    assert loaded.bound.__self__ is loaded
    assert loaded.other.weight is loaded.tied.weight
    assert loaded.view.untyped_storage().data_ptr() == loaded.whole.untyped_storage().data_ptr()
    assert loaded.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert loaded.cycle[0][0] is loaded.cycle


def test_cycles_through_tuples_and_arguments_come_back(round_trip):
    ring = ([], 1, 2, 3)
    ring[0].append(ring)
    pair = ([],)
    pair[0].append(pair)

    loaded_ring, loaded_pair = round_trip([ring, pair])

    assert loaded_ring[0][0] is loaded_ring
    assert loaded_pair[0][0] is loaded_pair


def test_a_plain_state_dict_loads_with_weights_only_and_mapped(round_trip):
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()

    target = round_trip(state, load=False)

    for options in ({"weights_only": True}, {"weights_only": True, "mmap": True}):
        loaded = torch.load(target, **options)
        assert list(loaded) == list(state)
        assert all(torch.equal(loaded[name], state[name]) for name in state)
        assert loaded._metadata == state._metadata


def test_storages_lie_where_torch_computes_that_they_lie(round_trip):
    tensors = [torch.full((n,), float(n)) for n in (1, 100, 17, 3000)]
    target = round_trip(tensors, load=False)

    with torch.utils.serialization.config.patch({"load.calculate_storage_offsets": True}):
        loaded = torch.load(target, mmap=True)

    assert all(torch.equal(a, b) for a, b in zip(tensors, loaded, strict=True))


def test_an_untouched_state_dict_is_written_with_the_same_records_as_torch_writes(tmp_path):
    torch.save({"a": torch.ones(3), "b": torch.zeros(100)}, tmp_path / "source.pt")
    file = read_file(tmp_path / "source.pt")

    write_file(file, file.root, tmp_path / "target.pt")

    before, after = (zipfile.ZipFile(tmp_path / name) for name in ("source.pt", "target.pt"))
    with before, after:
        assert before.namelist() == after.namelist()
        assert after.testzip() is None
        names = [name for name in before.namelist() if not name.endswith("serialization_id")]
        assert [before.read(name) for name in names] == [after.read(name) for name in names]
        assert [before.getinfo(name).header_offset for name in names] == [
            after.getinfo(name).header_offset for name in names
        ]


def test_only_storages_that_are_still_referred_to_are_written_and_numbered_from_zero(tmp_path):
    torch.save({"dropped": torch.ones(500), "kept": torch.zeros(3)}, tmp_path / "source.pt")
    file = read_file(tmp_path / "source.pt")
    del file.root["dropped"]

    write_file(file, file.root, tmp_path / "target.pt")

    with zipfile.ZipFile(tmp_path / "target.pt") as archive:
        assert [name for name in archive.namelist() if "/data/" in name] == ["source/data/0"]
    assert torch.load(tmp_path / "target.pt")["kept"].tolist() == [0.0, 0.0, 0.0]


def test_a_dropped_storage_is_never_looked_at(tmp_path):
    torch.save({"dropped": torch.ones(500), "kept": torch.zeros(3)}, tmp_path / "source.pt")
    damaged = bytearray((tmp_path / "source.pt").read_bytes())
    damaged[damaged.index(torch.ones(500).numpy().tobytes()) + 8] ^= 1
    (tmp_path / "source.pt").write_bytes(damaged)
    file = read_file(tmp_path / "source.pt")
    del file.root["dropped"]

    write_file(file, file.root, tmp_path / "target.pt")

    assert torch.load(tmp_path / "target.pt")["kept"].tolist() == [0.0, 0.0, 0.0]


def test_records_that_somebody_added_are_kept(tmp_path):
    torch.save(torch.ones(3), tmp_path / "source.pt")
    with zipfile.ZipFile(tmp_path / "source.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "more.pt", "w") as archive:
        for name, content in {**records, "source/notes.json": b"{}"}.items():
            archive.writestr(name, content)
    file = read_file(tmp_path / "more.pt")

    write_file(file, file.root, tmp_path / "target.pt")

    with zipfile.ZipFile(tmp_path / "target.pt") as archive:
        assert archive.read("source/notes.json") == b"{}"
    assert torch.equal(torch.load(tmp_path / "target.pt"), torch.ones(3))


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_protocol_of_the_object_pickle_is_kept(round_trip, protocol):
    target = round_trip({"a": b"bytes"}, load=False, pickle_protocol=protocol)

    with zipfile.ZipFile(target) as archive:
        operations = list(pickletools.genops(archive.read("source/data.pkl")))
    assert operations[0][1] == protocol
    assert max(operation.proto for operation, _, _ in operations) <= protocol


def test_python_2_names_and_operations_of_protocol_0_come_back_under_their_names(tmp_path):
    pickled = (
        b"(dp0\nS'model'\np1\nccopy_reg\n_reconstructor\np2\n(ctests.engine.formats.kinds\nStack\np3\n"
        b"c__builtin__\nlist\np4\n(lI1\naL2L\naF2.5\naV\\u00e4\naI01\natRp5\nsS'set'\n"
        b"c__builtin__\nset\n((lI3\natRs."
    )
    path = _replace_pickle(tmp_path, pickled)
    file = read_file(path)

    write_file(file, file.root, tmp_path / "target.pt")

    with zipfile.ZipFile(tmp_path / "target.pt") as archive:
        assert b"c__builtin__\nset\n" in archive.read("source/data.pkl")
    assert "copy_reg._reconstructor" in file.globals
    loaded = torch.load(tmp_path / "target.pt", weights_only=False)
    assert loaded == {"model": [1, 2, 2.5, "ä", True], "set": {3}}
    assert type(loaded["model"]).__name__ == "Stack"


def test_an_ordered_dict_as_python_2_wrote_it_becomes_pairs(tmp_path):
    file = read_file(_replace_pickle(tmp_path, b"ccollections\nOrderedDict\n((lp0\n(lp1\nI1\naI2\naatR."))

    assert (file.root.args, file.root.pairs) == ((), {1: 2})


def test_the_same_input_always_gives_the_same_bytes(tmp_path):
    torch.save(Net(), tmp_path / "source.pt")
    contents = set()
    for name in ("one.pt", "two.pt"):
        file = read_file(tmp_path / "source.pt")
        write_file(file, file.root, tmp_path / name)
        contents.add((tmp_path / name).read_bytes())
    again = read_file(tmp_path / "one.pt")
    write_file(again, again.root, tmp_path / "three.pt")
    contents.add((tmp_path / "three.pt").read_bytes())

    assert len(contents) == 1


@pytest.mark.parametrize("kind", [set, frozenset])
@pytest.mark.parametrize("protocol", [2, 4])
def test_members_of_sets_stay_in_the_order_of_the_file_whatever_their_hashes(round_trip, tmp_path, kind, protocol):
    value = kind(f"member {index}" for index in range(50))

    target = round_trip({"a": value, "b": [value]}, load=False, pickle_protocol=protocol)

    written, loaded = [strings(path) for path in (tmp_path / "source.pt", target)]
    assert written == loaded
    assert torch.load(target, weights_only=False) == {"a": value, "b": [value]}


def strings(path):
    """The strings of a checkpoint's pickle, in order."""
    with zipfile.ZipFile(path) as archive:
        content = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    return [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]


def test_a_file_saved_to_a_stream_keeps_the_order_of_its_records(tmp_path):
    stream = io.BytesIO()
    torch.save(collections.OrderedDict(a=torch.ones(2)), stream, _disable_byteorder_record=True)
    (tmp_path / "source").write_bytes(stream.getvalue())
    file = read_file(tmp_path / "source")

    write_file(file, file.root, tmp_path / "target.pt")

    assert file.archive == "archive"
    with zipfile.ZipFile(tmp_path / "source") as source, zipfile.ZipFile(tmp_path / "target.pt") as target:
        assert target.namelist() == source.namelist()
    assert torch.load(tmp_path / "target.pt", weights_only=True)["a"].tolist() == [1.0, 1.0]


def test_real_training_checkpoints_come_back_as_the_same_tree(checkpoints, tmp_path):
    paths = [path for pattern in ("*.pt", "*/*.pt", "*/*.pth") for path in sorted(checkpoints.glob(pattern))]
    assert len(paths) > 60
    for path in paths:
        file = read_file(path)
        write_file(file, file.root, tmp_path / "one.pt")
        again = read_file(tmp_path / "one.pt")
        write_file(again, again.root, tmp_path / "two.pt")

        assert tree_text(file.root) == tree_text(again.root), path.name
        assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes(), path.name
        assert file.globals == again.globals


def _replace_pickle(directory, pickled):
    """A checkpoint whose object pickle is `pickled`."""
    torch.save({}, directory / "source.pt")
    with zipfile.ZipFile(directory / "source.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(directory / "made.pt", "w") as archive:
        for name, content in {**records, "source/data.pkl": pickled}.items():
            archive.writestr(name, content)
    return directory / "made.pt"
