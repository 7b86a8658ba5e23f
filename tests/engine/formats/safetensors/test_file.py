"""safetensors files against the library that writes them, and what no file of it holds."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import FileBytes, MappedFile
from app.engine.formats.safetensors import SafetensorsFile, read_safetensors, write_safetensors
from app.engine.ir.tensors import buffer, tensor_of
from app.errors import AppError, MalformedFile, TooLarge, UnsupportedContent

_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64),
)


def read(path: Path) -> SafetensorsFile:
    file = MappedFile(path)
    return read_safetensors(FileBytes(file, 0, file.size), Limits())


def file_of(header: object, content: bytes, tmp_path: Path) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + content)
    return path


def bytes_of(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.reshape(-1).view(torch.uint8).numpy())


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", _DTYPES)
def test_every_dtype_is_read_and_written_as_the_library_does(dtype: torch.dtype, tmp_path: Path) -> None:
    wide = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    parts = {"b": wide, "a.weight": wide[1], "empty": wide[:0], "one": wide[0, 1]}
    tensors = {name: part.clone().to(dtype) for name, part in parts.items()}
    save_file(tensors, tmp_path / "in.safetensors", metadata={"format": "pt", "é": "ü"})

    file = read(tmp_path / "in.safetensors")
    write_safetensors(file, file.tensors, tmp_path / "out.safetensors")

    for name, tensor in tensors.items():
        stored = tensor_of(file.tensors[name])
        assert stored is not None
        assert bytes_of(stored.read()) == bytes_of(tensor)
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert written[name].dtype == dtype
        assert written[name].shape == tensor.shape
        assert bytes_of(written[name]) == bytes_of(tensor)
    with safe_open(tmp_path / "out.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "é": "ü"}


def test_names_keep_their_order_and_all_tensors_are_aligned(tmp_path: Path) -> None:
    odd, wide = buffer(torch.ones(3, dtype=torch.uint8)), buffer(torch.arange(6.0).reshape(2, 3).t())
    path = tmp_path / "out.safetensors"

    write_safetensors(SafetensorsFile({}, None), {"odd": odd, "wide": wide}, path)

    raw = path.read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8 : 8 + length])
    assert list(header) == ["odd", "wide"]
    assert length % 8 == 0
    assert header["wide"]["data_offsets"] == [0, 24]
    assert load_file(path)["wide"].equal(torch.arange(6.0).reshape(2, 3).t())


_ROW = b"\0" * 8


@pytest.mark.parametrize(
    ("header", "content", "error"),
    [
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, b"\0" * 12, MalformedFile),  # overlap
        ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, b"\0" * 12, MalformedFile),  # hole
        ({"a": entry(4, 8, [1])}, _ROW, MalformedFile),  # hole at the beginning
        ({"a": entry(0, 4, [1])}, _ROW, MalformedFile),  # bytes that nobody has
        ({"a": entry(0, 16, [4])}, _ROW, MalformedFile),  # behind the end
        ({"a": entry(8, 0, [2])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [3])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [1 << 63, 1 << 63])}, _ROW, MalformedFile),
        ({"a": entry(0, 1 << 63, [1 << 61])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [-2])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [2.0])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [True, 2])}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [1] * 65)}, _ROW, MalformedFile),
        ({"a": entry(0, 8, [2], "F4")}, _ROW, UnsupportedContent),
        ({"a": entry(0, 8, [2], 3)}, _ROW, MalformedFile),
        ({"a": {"dtype": "F32", "shape": [2]}}, _ROW, MalformedFile),
        ({"a": {**entry(0, 8, [2]), "more": 1}}, _ROW, MalformedFile),
        ({"a": {**entry(0, 8, [2]), "data_offsets": [0, 8, 8]}}, _ROW, MalformedFile),
        ({"a": 3}, _ROW, MalformedFile),
        ({"__metadata__": {"a": 1}}, b"", MalformedFile),
        ({"__metadata__": ["a"]}, b"", MalformedFile),
        (b'{"a":{},"a":{}}', b"", MalformedFile),  # a key twice
        (b'{"__metadata__":{"a":"1","a":"2"}}', b"", MalformedFile),
        (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', _ROW, MalformedFile),
        (b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', _ROW, MalformedFile),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', _ROW, MalformedFile),
        (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', _ROW, MalformedFile),
        (b'{"a":' + b"[" * 200_000, b"", AppError),
        (b'{"a":' + b'{"a":' * 100_000, b"", AppError),
        (b'{"\xff":1}', b"", MalformedFile),
        (b"{}garbage", b"", MalformedFile),
        (b' {"a":1}', b"", MalformedFile),
        (b"[]", b"", MalformedFile),
    ],
)
def test_a_header_that_no_library_writes_is_refused(
    header: object, content: bytes, error: type[AppError], tmp_path: Path
) -> None:
    with pytest.raises(error):
        read(file_of(header, content, tmp_path))


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40, 33 << 20])
def test_a_header_that_is_said_to_be_huge_is_too_large(length: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{" + b" " * 100)

    with pytest.raises(TooLarge):
        read(path)


@pytest.mark.parametrize("content", [b"1234567", struct.pack("<Q", 50) + b"{}"])
def test_a_file_that_ends_in_its_header_is_damaged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(content)

    with pytest.raises(MalformedFile):
        read(path)


def test_names_that_other_languages_stumble_over_are_names(tmp_path: Path) -> None:
    names = ["__proto__", "constructor", "../../etc/passwd", "a/b", "a..b", "", ".", "ключ", "a\nb"]
    tensors = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}
    save_file(tensors, tmp_path / "in.safetensors")

    file = read(tmp_path / "in.safetensors")
    write_safetensors(file, file.tensors, tmp_path / "out.safetensors")

    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == set(names)
    assert all(written[name].equal(tensors[name]) for name in names)
