"""Files of inputs as NumPy and safetensors write them, and files that are none."""

import io
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from app.engine.probes import read_probe
from app.errors import InvalidProbe

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 5, 7)).astype(np.float32)


def npy(array: np.ndarray, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text: str, rest: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    raw = text.encode("latin-1")
    size = len(raw) if length is None else length
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", size) + raw + rest


@pytest.fixture
def read(tmp_path):
    def reading(content: bytes) -> dict[str, torch.Tensor]:
        path = tmp_path / "probe"
        path.write_bytes(content)
        return dict(read_probe(path))

    return reading


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "i2", "<i4", ">i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_out_as_numpy_reads_it(read, dtype, order):
    array = np.asarray((10 * X).astype(dtype), order=order)
    (found,) = read(npy(array)).values()
    np.testing.assert_array_equal(found.numpy(), np.load(io.BytesIO(npy(array))))
    assert found.numpy().dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 1, 1, 1, 1)])
def test_every_rank_is_read(read, shape):
    (found,) = read(npy(np.ones(shape, np.float32))).values()
    assert tuple(found.shape) == shape


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_format_is_read_whatever_the_order_and_spacing_of_its_header(read, version):
    text = "{'shape':(2,2),'descr' : '<f4' , 'fortran_order':False}"
    (found,) = read(header(text, np.arange(4, dtype="<f4").tobytes(), version)).values()
    assert found.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_archive_gives_its_arrays_by_name(read, write):
    stream = io.BytesIO()
    write(stream, image=X, mask=np.zeros((2, 9), np.int64))
    found = read(stream.getvalue())
    assert list(found) == ["image", "mask"]
    np.testing.assert_array_equal(found["image"].numpy(), X)
    assert found["mask"].dtype == torch.int64


def test_safetensors_give_theirs(read):
    found = read(save({"image": X, "mask": np.zeros((2, 9), np.int64)}))
    np.testing.assert_array_equal(found["image"].numpy(), X)
    assert sorted(found) == ["image", "mask"]


def test_arrays_do_not_lie_in_the_file_that_they_came_from(read, tmp_path):
    (found,) = read(npy(X)).values()
    (tmp_path / "probe").write_bytes(b"\0" * 10_000)
    np.testing.assert_array_equal(found.numpy(), X)


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
EIGHT_BITS = b'{"a":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}}'
FLAWED = {
    "no bytes": b"",
    "one byte": b"\x93",
    "text": b"1 2 3 4 5 6 7 8 9 10 11 12",
    "a pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "version 9": header(F4, bytes(8), 9),
    "a header that goes on behind the end": header(F4, b"", length=60_000),
    "a header of four gigabytes": header(F4, bytes(8), 2, length=0xFFFFFFFF),
    "too few numbers": header(F4, bytes(7)),
    "too many numbers": header(F4, bytes(9)),
    "no such shape": header("{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", bytes(8)),
    "a negative size": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", bytes(8)),
    "a huge shape": header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'99999999999, ' * 9}), }}", bytes(8)),
    "a thousand dimensions": header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 999}), }}", bytes(4)
    ),
    "code for a shape": header("{'descr': '<f4', 'fortran_order': False, 'shape': (print('x'),), }", bytes(8)),
    "a key twice": header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(8)),
    "a key too many": header("{'descr': '<f4', 'more': True, 'fortran_order': False, 'shape': (2,), }", bytes(8)),
    "a key too few": header("{'descr': '<f4', 'shape': (2,), }", bytes(8)),
    "no dictionary": header("[1, 2, 3]", bytes(8)),
    "objects": npy(np.array([{}, {}], dtype=object), allow_pickle=True),
    "texts": npy(np.array(["a", "b"])),
    "complex numbers": npy(np.array([1j])),
    "records": npy(np.zeros(2, dtype=[("a", "f4"), ("b", "f4")])),
    "not a number": npy(np.array([1.0, np.nan], np.float32)),
    "infinity": npy(np.array([1.0, -np.inf], np.float16)),
    "nothing": npy(np.zeros((0, 3), np.float32)),
    "an empty archive": b"PK\x05\x06" + bytes(18),
    "half an archive": b"PK\x03\x04" + bytes(40),
    "safetensors without tensors": b"\x02\0\0\0\0\0\0\0{}",
    "half a safetensors file": save({"image": X})[:-4],
    "eight-bit floats": b"\x46\0\0\0\0\0\0\0"
    + b'{"a":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]}}'.ljust(70)
    + b"\0\0",
}


@pytest.mark.parametrize("content", FLAWED.values(), ids=FLAWED)
def test_a_flawed_file_is_an_invalid_probe_with_a_remedy(read, content):
    with pytest.raises(InvalidProbe) as found:
        read(content)
    assert found.value.code == "invalid-probe"
    assert found.value.remedy


@pytest.mark.parametrize(
    ("name", "said"),
    [("objects", "Python objects, which are pickles"), ("texts", "'<U1'"), ("complex numbers", "'<c16'")],
)
def test_numbers_of_another_kind_are_called_by_their_name(read, name, said):
    with pytest.raises(InvalidProbe) as found:
        read(FLAWED[name])
    assert said in found.value.detail
    assert "astype" in found.value.remedy


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def test_an_archive_that_holds_more_than_arrays_is_refused(read):
    with pytest.raises(InvalidProbe, match="which is no array"):
        read(archive(**{"image.npy": npy(X), "notes.txt": b"hello"}))


def test_a_bomb_is_refused_before_it_is_unpacked(read):
    with pytest.raises(InvalidProbe, match="unpacks to"):
        read(archive(**{"image.npy": bytes(1 << 29)}))


def test_an_array_that_unpacks_to_more_than_the_archive_says_is_refused(read):
    content = bytearray(archive(**{"image.npy": npy(X)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = struct.pack("<I", len(npy(X)) - 100)
    with pytest.raises(InvalidProbe, match=r"does not unpack|size or checksum"):
        read(bytes(content))


@pytest.mark.parametrize("where", range(30, 400, 37))
def test_a_byte_that_was_changed_is_seen(read, where):
    stream = io.BytesIO()
    np.savez_compressed(stream, image=X)
    content = bytearray(stream.getvalue())
    content[where] ^= 0xFF
    with pytest.raises(InvalidProbe):
        read(bytes(content))


def test_more_numbers_than_the_limit_are_refused_without_reading_them(read, tmp_path):
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000), }"
    with pytest.raises(InvalidProbe, match="limit"):
        read(header(text, bytes(100)))
    path = tmp_path / "probe"
    with path.open("wb") as file:
        file.write(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 1000, 1000), }"))
        file.truncate(4_000_000_000)
    with pytest.raises(InvalidProbe, match="limit"):
        read_probe(path)
