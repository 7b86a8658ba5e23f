"""safetensors files and archives of shards whose headers lie."""

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.case import Recipe

_ARCHITECTURE = (("architecture", "repvgg"),)


def file(header: Any, nbytes: int = 16, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(nbytes)


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


HEADERS: dict[str, Callable[[], bytes]] = {
    "length without end": lambda: file({"w": entry()}, length=1 << 62),
    "length of everything": lambda: file({"w": entry()}, length=(1 << 64) - 1),
    "length behind the end": lambda: file({"w": entry()}, length=5000),
    "length above the limit": lambda: file(b"{" + b" " * (40 << 20) + b"}"),
    "length too short": lambda: file({"w": entry()}, length=5),
    "length of nothing": lambda: file(b"", length=0),
    "no brace": lambda: file(b" {}"),
    "a list": lambda: file(b"[]"),
    "half an object": lambda: file(b'{"w":'),
    "no text": lambda: file(b"{\xff\xfe}"),
    "UTF-16": lambda: file("{}".encode("utf-16-le")),
    "a key twice": lambda: file(
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "a field twice": lambda: file(b'{"w":{"dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]}}'),
    "a field more": lambda: file({"w": entry(evil=1)}),
    "a field less": lambda: file({"w": {"dtype": "F32", "shape": [4]}}),
    "depth without end": lambda: file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "lists without end": lambda: file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "long digits": lambda: file(b'{"w":{"dtype":"F32","shape":[' + b"9" * 100_000 + b'],"data_offsets":[0,16]}}'),
    "a number that is none": lambda: file(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}'),
    "a number beyond all": lambda: file(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}'),
    "a float for a size": lambda: file({"w": entry(shape=[4.0])}),
    "true for a size": lambda: file({"w": entry(shape=[True, 4])}),
    "a text for a size": lambda: file({"w": entry(shape=["4"])}),
    "a size below zero": lambda: file({"w": entry(shape=[-4, -1])}),
    "sizes that overflow": lambda: file({"w": entry(shape=[1 << 32, 1 << 32, 4])}),
    "a size of nothing among others": lambda: file({"w": entry(shape=[1 << 62, 1 << 62, 0], offsets=[0, 16])}),
    "a size beyond 64 bits": lambda: file({"w": entry(shape=[1 << 70])}),
    "a hundred sizes": lambda: file({"w": entry(shape=[1] * 100)}),
    "a million sizes": lambda: file({"w": entry(shape=[1] * 1_000_000)}),
    "offsets turned around": lambda: file({"w": entry(offsets=[16, 0])}),
    "offsets behind the end": lambda: file({"w": entry(offsets=[16, 32])}),
    "offsets below zero": lambda: file({"w": entry(offsets=[-16, 0])}),
    "offsets without end": lambda: file({"w": entry(offsets=[0, 1 << 62], shape=[1 << 60])}),
    "three offsets": lambda: file({"w": entry(offsets=[0, 8, 16])}),
    "one offset": lambda: file({"w": entry(offsets=[0])}),
    "no offsets": lambda: file({"w": entry(offsets=[])}),
    "offsets of another size": lambda: file({"w": entry(shape=[3])}),
    "offsets that overlap": lambda: file({"a": entry(), "b": entry(shape=[2], offsets=[8, 16])}),
    "offsets that are the same": lambda: file({"a": entry(), "b": entry()}),
    "offsets with a hole": lambda: file(
        {"a": entry(shape=[1], offsets=[0, 4]), "b": entry(shape=[2], offsets=[8, 16])}
    ),
    "bytes behind": lambda: file({"w": entry()}, 32),
    "bytes before": lambda: file({"w": entry(shape=[2], offsets=[8, 16])}),
    "bytes that are missing": lambda: file({"w": entry()}, 8),
    "a type that is none": lambda: file({"w": entry("EVIL")}),
    "a type that is a number": lambda: file({"w": entry(7)}),
    "a type of sub-bytes": lambda: file({"w": entry("F4", [32])}),
    "a name of half a character": lambda: file(b'{"\\ud800":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
    "metadata that is a list": lambda: file({"__metadata__": [], "w": entry()}),
    "metadata of numbers": lambda: file({"__metadata__": {"a": 1}, "w": entry()}),
    "metadata within metadata": lambda: file({"__metadata__": {"a": {"b": "c"}}, "w": entry()}),
    "metadata of half a character": lambda: file(
        b'{"__metadata__":{"a":"\\udfff"},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "a tensor that is a list": lambda: file({"w": []}),
    "300,000 tensors": lambda: file({str(n): entry("U8", [0], [0, 0]) for n in range(300_000)}, 0),
}

_INDEX = "m.safetensors.index.json"


def _shards(index: Any, **files: bytes) -> bytes:
    raw = index if isinstance(index, bytes) else json.dumps(index).encode()
    return a.archive({_INDEX: raw, **{f"{key}.safetensors": value for key, value in files.items()}})


_SOUND = file({"w": entry()})
SHARDS: dict[str, Callable[[], bytes]] = {
    "a shard outside": lambda: _shards({"weight_map": {"w": "../../etc/passwd"}}, a=_SOUND),
    "an absolute shard": lambda: _shards({"weight_map": {"w": "/etc/passwd"}}, a=_SOUND),
    "a shard that is missing": lambda: _shards({"weight_map": {"w": "b.safetensors"}}, a=_SOUND),
    "a shard of nobody": lambda: _shards({"weight_map": {"w": "a.safetensors"}}, a=_SOUND, b=_SOUND),
    "the index as a shard": lambda: _shards({"weight_map": {"w": _INDEX}}, a=_SOUND),
    "a tensor that is missing": lambda: _shards({"weight_map": {"w": "a.safetensors", "v": "a.safetensors"}}, a=_SOUND),
    "a tensor more": lambda: _shards({"weight_map": {}}, a=_SOUND),
    "a tensor in two shards": lambda: _shards(
        {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}, a=_SOUND, b=_SOUND
    ),
    "a map that is a list": lambda: _shards({"weight_map": []}, a=_SOUND),
    "a shard that is a number": lambda: _shards({"weight_map": {"w": 1}}, a=_SOUND),
    "no map": lambda: _shards({"metadata": {}}, a=_SOUND),
    "more than a map": lambda: _shards({"weight_map": {"w": "a.safetensors"}, "evil": 1}, a=_SOUND),
    "an index that is no JSON": lambda: _shards(b"evil", a=_SOUND),
    "an index without end": lambda: _shards(b"[" * 100_000, a=_SOUND),
    "an index with a key twice": lambda: _shards(b'{"weight_map":{},"weight_map":{}}', a=_SOUND),
    "a shard that lies": lambda: _shards(
        {"weight_map": {"w": "a.safetensors"}}, a=file({"w": entry(offsets=[0, 1 << 40])})
    ),
    "a shard that is empty": lambda: _shards({"weight_map": {"w": "a.safetensors"}}, a=b""),
    "a shard that is a pickle": lambda: _shards({"weight_map": {"w": "a.safetensors"}}, a=a.whole(b"N")),
    "without an index": lambda: a.archive({"a.safetensors": _SOUND}),
    "two indexes": lambda: a.archive({_INDEX: b"{}", f"n{_INDEX}": b"{}", "a.safetensors": _SOUND}),
    "in folders": lambda: a.archive({_INDEX: b"{}", "x/a.safetensors": _SOUND}),
}


def recipes() -> Iterator[Recipe]:
    for what, content in HEADERS.items():
        yield Recipe(
            f"safetensors {what}", lambda c, content=content: content(), options=_ARCHITECTURE, heavy="000" in what
        )
    for what, content in SHARDS.items():
        yield Recipe(f"shards {what}", lambda c, content=content: content(), options=_ARCHITECTURE)
