"""Pickle operations and archives put together by hand: what no pickler and no zip tool would write."""

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

MARK, TUPLE, REDUCE, STOP, POP, BUILD = b"(", b"t", b"R", b".", b"0", b"b"


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, inner: str) -> bytes:
    """GLOBAL, which protocols below 4 write."""
    return f"c{module}\n{inner}\n".encode()


def plain(value: Any) -> bytes:
    """The operations that push a plain value, without memo."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 2)
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()[2:-1]


def arguments(*parts: bytes) -> bytes:
    return MARK + b"".join(parts) + TUPLE


def call(function: bytes, *parts: bytes) -> bytes:
    return function + arguments(*parts) + REDUCE


def calls(path: str, *args: Any) -> bytes:
    """A call of `module.name`; arguments that are bytes of operations are given as Ops."""
    module, _, inner = path.rpartition(".")
    return call(name(module, inner), *(arg.content if isinstance(arg, Ops) else plain(arg) for arg in args))


class Ops:
    """An argument that is made of operations itself."""

    def __init__(self, content: bytes) -> None:
        self.content = content


def whole(operations: bytes, protocol: int = 2) -> bytes:
    return (b"" if protocol == 0 else b"\x80" + bytes([protocol])) + operations + STOP


def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
    made[1].running_mean.uniform_(-1, 1)
    made[1].running_var.uniform_(0.5, 2)
    return made


@cache
def saved(protocol: int = 2, zipped: bool = True) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the source text of classes
        torch.save(model(), out, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


@cache
def records(protocol: int = 2) -> Mapping[str, bytes]:
    """A sound checkpoint of a small model, by the names of its records."""
    with zipfile.ZipFile(io.BytesIO(saved(protocol))) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def archive(entries: Mapping[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    with zipfile.ZipFile(out, "w", method) as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for entry, content in pairs:
            written.writestr(zipfile.ZipInfo(entry, (1980, 0, 0, 0, 0, 0)), content, method)
    return out.getvalue()


def checkpoint(pickled: bytes, **more: bytes) -> bytes:
    """A zip checkpoint with this pickle, its storages those of the small model."""
    root = next(iter(records())).partition("/")[0]
    return archive(
        {**records(), f"{root}/data.pkl": pickled, **{f"{root}/{key}": value for key, value in more.items()}}
    )


def alone(pickled: bytes) -> bytes:
    """A zip checkpoint of this pickle, without storages."""
    return archive({"x/data.pkl": pickled, "x/byteorder": b"little", "x/version": b"3\n"})


def beside_model(operations: bytes, protocol: int = 2) -> bytes:
    """A checkpoint `{"model": a sound model, "x": what the operations push}`."""
    root = next(iter(records())).partition("/")[0]
    inner = records(2 if protocol < 3 else 3)[f"{root}/data.pkl"][2:-1]  # with Python 3's names, and without frames
    return checkpoint(whole(b"}" + text("model") + inner + b"s" + text("x") + operations + b"s", protocol))


def instead_of_model(operations: bytes, protocol: int = 2) -> bytes:
    return alone(whole(operations, protocol))


def legacy(operations: bytes, protocol: int = 2) -> bytes:
    """A checkpoint of before torch 1.6 without storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join((*head, whole(operations, protocol), pickle.dumps([], 2)))


def state(operations: bytes, **attributes: bytes) -> bytes:
    """BUILD with a dictionary of attributes."""
    return operations + b"}" + MARK + b"".join(text(key) + value for key, value in attributes.items()) + b"u" + BUILD
