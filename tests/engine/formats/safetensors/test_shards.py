"""Shards and their index in one archive."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.safetensors import read_shards, write_shards
from app.engine.ir.tensors import buffer
from app.errors import AppError, MalformedFile, TooLarge, UnsupportedContent

_INDEX = "model.safetensors.index.json"
_TENSORS = {"b.weight": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4, dtype=torch.float16), "c": torch.zeros(2)}
_PLACES = {"b.weight": "one.safetensors", "c": "two.safetensors", "a": "one.safetensors"}


def packed(
    path: Path, index: object, shards: dict[str, bytes], method: int = zipfile.ZIP_STORED, more: str = ""
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(_INDEX, index if isinstance(index, str) else json.dumps(index))
        for name, content in shards.items():
            archive.writestr(name, content)
        if more:
            archive.writestr(more, b"more")
    return path


def shards_of(places: dict[str, str] = _PLACES) -> dict[str, bytes]:
    return {
        shard: save({name: _TENSORS[name] for name, held in places.items() if held == shard}, {"format": "pt"})
        for shard in dict.fromkeys(places.values())
    }


def test_the_same_shards_with_the_same_index_come_back(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 40, "by": "somebody"}, "weight_map": _PLACES}
    file = read_shards(MappedFile(packed(tmp_path / "in.zip", index, shards_of())), Limits())

    write_shards(file, file.tensors, tmp_path / "out.zip")

    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert json.loads(archive.read(_INDEX)) == index
        for shard in ("one.safetensors", "two.safetensors"):
            found = load(archive.read(shard))
            assert found.keys() == {name for name, held in _PLACES.items() if held == shard}
            assert all(tensor.equal(_TENSORS[name]) for name, tensor in found.items())


def test_a_tensor_that_goes_leaves_index_and_sizes_and_a_new_one_is_beside_its_neighbour(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 40, "total_parameters": 12}, "weight_map": _PLACES}
    file = read_shards(MappedFile(packed(tmp_path / "in.zip", index, shards_of())), Limits())
    tensors = {"b.weight": file.tensors["b.weight"], "c": file.tensors["c"], "c.bias": buffer(torch.ones(5))}

    write_shards(file, tensors, tmp_path / "out.zip")

    again = read_shards(MappedFile(tmp_path / "out.zip"), Limits())
    assert again.metadata == {"total_size": 24 + 8 + 20, "total_parameters": 13}
    assert again.order == {"b.weight": "one.safetensors", "c": "two.safetensors", "c.bias": "two.safetensors"}


def test_a_shard_whose_tensors_all_go_is_not_written(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 40}, "weight_map": _PLACES}
    file = read_shards(MappedFile(packed(tmp_path / "in.zip", index, shards_of())), Limits())

    write_shards(file, {"c": file.tensors["c"]}, tmp_path / "out.zip")

    again = read_shards(MappedFile(tmp_path / "out.zip"), Limits())
    assert list(again.shards) == ["two.safetensors"]


@pytest.mark.parametrize(
    ("index", "error", "said"),
    [
        ({"weight_map": {**_PLACES, "d": "one.safetensors"}}, MalformedFile, "disagree"),
        ({"weight_map": {"b.weight": "one.safetensors", "c": "two.safetensors"}}, MalformedFile, "disagree"),
        ({"weight_map": {**_PLACES, "a": "two.safetensors"}}, MalformedFile, "disagree"),
        ({"weight_map": {**_PLACES, "a": "three.safetensors"}}, UnsupportedContent, "lacks 1 shards"),
        ({"weight_map": {**_PLACES, "a": "../../etc/passwd"}}, UnsupportedContent, "lacks 1 shards"),
        ({"weight_map": {**_PLACES, "a": _INDEX}}, TooLarge, "safetensors header"),
        ({"weight_map": {**_PLACES, "a": 3}}, MalformedFile, "is not a text"),
        ({"weight_map": [1]}, MalformedFile, "weight_map"),
        ({"weight_map": _PLACES, "more": 1}, MalformedFile, "weight_map"),
        ({"weight_map": _PLACES, "metadata": "x"}, MalformedFile, "metadata"),
        ("not json", MalformedFile, "not valid JSON"),
        ('{"metadata": {"total_size": 1e999}, "weight_map": {}}', MalformedFile, "beyond every float"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    index: object, error: type[AppError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        read_shards(MappedFile(packed(tmp_path / "in.zip", index, shards_of())), Limits())


def test_what_is_packed_in_another_way_is_told_how_to_pack_it(tmp_path: Path) -> None:
    index = {"weight_map": _PLACES}
    packs = [
        packed(tmp_path / "deflated.zip", index, shards_of(), zipfile.ZIP_DEFLATED),
        packed(tmp_path / "more.zip", index, shards_of(), more="config.json"),
        packed(tmp_path / "astray.zip", index, shards_of(), more="sub/config.json"),
        packed(tmp_path / "two.zip", index, shards_of(), more="other.safetensors.index.json"),
    ]

    for pack in packs:
        with pytest.raises(UnsupportedContent) as caught:
            read_shards(MappedFile(pack), Limits())
        assert "zip -0 -j" in caught.value.remedy
