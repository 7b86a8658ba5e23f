"""Doubtful archives are refused: two readers would see two different files in them."""

import struct
import zipfile

import pytest
import torch

from app.engine.formats import Limits, read_file, write_file
from app.errors import MalformedFile, TooLarge, UnsupportedContent


@pytest.fixture
def saved(tmp_path):
    torch.save({"a": torch.arange(10.0)}, tmp_path / "saved.pt")
    return tmp_path / "saved.pt"


def rewrite(path, change=None, compression=zipfile.ZIP_STORED):
    """The archive again, as Python writes it, with changed records."""
    with zipfile.ZipFile(path) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in change(records) if change else records:
            archive.writestr(name, content)


def read_and_write(path):
    file = read_file(path)
    write_file(file, file.root, path.with_suffix(".out"))


def refuse(path, message):
    with pytest.raises(MalformedFile, match=message):
        read_and_write(path)


def test_an_archive_that_python_wrote_is_read(saved):
    rewrite(saved)

    assert read_file(saved).root["a"] is not None


def test_compressed_records_are_refused(saved):
    rewrite(saved, compression=zipfile.ZIP_DEFLATED)

    refuse(saved, "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["saved/data.pkl", "saved/DATA.pkl"])
def test_two_records_of_one_name_are_refused(saved, name):
    rewrite(saved, lambda records: [*records, (name, b"N.")])

    refuse(saved, "two records")


@pytest.mark.parametrize(
    "name", ["other/x", "x", "saved/../x", "saved//x", "/saved/x", "saved\\x", "saved/\x01", "saved/d/"]
)
def test_records_outside_the_one_folder_or_with_odd_names_are_refused(saved, name):
    rewrite(saved, lambda records: [*records, (name, b"")])

    refuse(saved, "folder|not allowed")


def test_bytes_before_or_behind_the_archive_are_refused(saved):
    content = saved.read_bytes()
    saved.write_bytes(content + b"x")
    refuse(saved, "end record")
    saved.write_bytes(content[:-1])
    refuse(saved, "end record")
    rewrite_offset = content + b""
    saved.write_bytes(b"PK\x03\x04" + rewrite_offset)
    refuse(saved, "zip archive")


def test_a_changed_byte_of_a_storage_is_found_when_the_storage_is_used(saved):
    content = bytearray(saved.read_bytes())
    content[content.index(struct.pack("<f", 7.0))] ^= 0x10
    saved.write_bytes(content)

    refuse(saved, "CRC-32")
    with pytest.raises(MalformedFile, match="CRC-32"):
        read_file(saved).storages[0].source.tensor()


def test_a_changed_byte_of_the_pickle_is_found_before_it_is_read(saved):
    content = bytearray(saved.read_bytes())
    content[content.index(b"FloatStorage")] ^= 1
    saved.write_bytes(content)

    refuse(saved, "CRC-32")


def test_a_local_header_that_differs_from_the_directory_is_refused(saved):
    content = bytearray(saved.read_bytes())
    content[content.index(b"saved/data/0") + 11] = ord("1")
    saved.write_bytes(content)

    refuse(saved, "local header differs")


def test_a_data_descriptor_that_differs_is_refused(saved):
    content = bytearray(saved.read_bytes())
    content[content.index(b"PK\x07\x08") + 4] ^= 1
    saved.write_bytes(content)

    refuse(saved, "descriptor")


def test_a_size_beyond_the_file_is_refused(saved):
    content = bytearray(saved.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 1 << 31, 1 << 31)
    saved.write_bytes(content)

    refuse(saved, "overlap")


def test_more_records_than_the_limit_are_too_many(saved):
    with pytest.raises(TooLarge, match="records"):
        read_file(saved, Limits(max_entries=3))


def test_a_missing_storage_or_pickle_is_named(saved, tmp_path):
    content = saved.read_bytes()
    rewrite(saved, lambda records: [record for record in records if record[0] != "saved/data/0"])
    refuse(saved, "storage '0' is not in the archive")
    saved.write_bytes(content)


def test_big_endian_checkpoints_are_refused_with_what_to_do(saved):
    rewrite(saved, lambda records: [(name, b"big" if "byteorder" in name else content) for name, content in records])

    with pytest.raises(UnsupportedContent, match="big-endian") as caught:
        read_file(saved)

    assert "save it again" in caught.value.remedy


def test_archives_beyond_4_gib_use_the_zip64_fields(saved, monkeypatch):
    file = read_file(saved)
    monkeypatch.setattr("app.engine.formats.zip_writer._ZIP64_FROM", 16)
    target = saved.with_name("wide.pt")

    write_file(file, file.root, target)

    assert read_file(target).storages[0].source.tensor().view(torch.float32).tolist() == list(range(10))
    assert torch.equal(torch.load(target)["a"], torch.arange(10.0))
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
