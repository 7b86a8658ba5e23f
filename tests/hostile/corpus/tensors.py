"""Tensors that are not where they say, or not what they say; and layers whose numbers no network has."""

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import name, plain, text
from tests.hostile.corpus.case import Recipe

_BIG = 1 << 62


def storage(
    kind: str = "FloatStorage", key: str = "0", numel: Any = 10, location: str = "cpu", module: str = "torch"
) -> bytes:
    return a.arguments(text("storage"), name(module, kind), text(key), text(location), plain(numel)) + b"Q"


def tensor(
    offset: Any = 0, shape: Any = (10,), stride: Any = (1,), rebuild: str = "_rebuild_tensor_v2", **of: Any
) -> bytes:
    hooks = name("collections", "OrderedDict") + b")R"
    parts = [storage(**of), plain(offset), plain(shape), plain(stride), b"\x89", hooks]
    return a.call(name("torch._utils", rebuild), *parts)


def _file(operations: bytes, nbytes: int = 40) -> bytes:
    """A checkpoint of one storage, its pickle a state dict with one tensor."""
    return a.archive(
        {
            "x/data.pkl": a.whole(b"}" + text("w") + operations + b"s"),
            "x/byteorder": b"little",
            "x/data/0": bytes(nbytes),
            "x/version": b"3\n",
        }
    )


LIES: dict[str, Callable[[], bytes]] = {
    "behind the end": lambda: _file(tensor(1)),
    "far behind the end": lambda: _file(tensor(_BIG)),
    "before the start": lambda: _file(tensor(-1)),
    "of negative size": lambda: _file(tensor(0, (-10,))),
    "of negative stride": lambda: _file(tensor(9, (10,), (-1,))),
    "of a stride too wide": lambda: _file(tensor(0, (10,), (2,))),
    "of sizes that overflow": lambda: _file(tensor(0, (1 << 32, 1 << 32), (0, 0))),
    "of a size that overflows": lambda: _file(tensor(0, (1 << 64,), (0,))),
    "of an offset that overflows": lambda: _file(tensor((1 << 64) - 4, (1,), (1,))),
    "of a trillion elements": lambda: _file(tensor(0, (1 << 40,), (0,))),
    "of many elements": lambda: _file(tensor(0, (1 << 25,), (0,))),
    "of more strides than sizes": lambda: _file(tensor(0, (10,), (1, 1))),
    "of a hundred dimensions": lambda: _file(tensor(0, (1,) * 100, (1,) * 100)),
    "of sizes in a list": lambda: _file(tensor(0, [10], [1])),
    "of sizes that are true": lambda: _file(tensor(0, (True,), (1,))),
    "of sizes that are floats": lambda: _file(tensor(0, (10.0,), (1.0,))),
    "of a text for an offset": lambda: _file(tensor("0")),
    "of a storage that is missing": lambda: _file(tensor(key="1")),
    "of a storage elsewhere": lambda: _file(tensor(key="../../etc/passwd")),
    "of a storage of a long name": lambda: _file(tensor(key="a" * 1000)),
    "of a storage on a device without name": lambda: _file(tensor(location="x" * 1000)),
    "of more elements than there are": lambda: _file(tensor(numel=11)),
    "of elements without end": lambda: _file(tensor(numel=1 << 60)),
    "of elements that overflow": lambda: _file(tensor(numel=1 << 64)),
    "of fewer than no elements": lambda: _file(tensor(numel=-10)),
    "of half an element": lambda: _file(tensor(numel=2.5)),
    "of true elements": lambda: _file(tensor(numel=True)),
    "of a wider type": lambda: _file(tensor(kind="DoubleStorage")),
    "of a quantised type": lambda: _file(tensor(kind="QInt8Storage", numel=40)),
    "of a strange type": lambda: _file(tensor(kind="EvilStorage")),
    "of a type of another module": lambda: _file(tensor(kind="FloatStorage", module="evil")),
    "of two types": lambda: _file(tensor() + b"0" + tensor(kind="IntStorage")),
    "of two lengths": lambda: _file(tensor() + b"0" + tensor(0, (5,), (1,), numel=5)),
    "of two devices": lambda: _file(tensor() + b"0" + tensor(location="cuda:0")),
    "of a view of a storage": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_tensor_v2"),
            a.arguments(
                text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), plain(10), plain(("v", 0, 5))
            )
            + b"Q",
            plain(0),
            plain((5,)),
            plain((1,)),
            b"\x89",
            b"N",
        )
    ),
    "sparse": lambda: _file(a.call(name("torch._utils", "_rebuild_sparse_tensor"), plain(0), plain((1, 2)))),
    "quantised": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_qtensor"),
            storage(kind="QInt8Storage", numel=40),
            plain(0),
            plain((40,)),
            plain((1,)),
            plain((1, 0.1, 0)),
            b"\x89",
            b"N",
        )
    ),
    "of another device": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_device_tensor_from_numpy"), plain(b"x"), plain("f"), plain("cpu"), b"\x89"
        )
    ),
    "nested": lambda: _file(
        a.call(name("torch._utils", "_rebuild_nested_tensor"), tensor(), tensor(), tensor(), plain(0))
    ),
    "of meta": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_meta_tensor_no_storage"),
            name("torch", "float32"),
            plain((1 << 60,)),
            plain((1,)),
            b"\x89",
        )
    ),
    "of a wrapper": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_wrapper_subclass"),
            name("m", "T"),
            name("torch", "float32"),
            plain((1,)),
            plain((1,)),
            plain(0),
            plain(7),
            plain("cpu"),
            b"\x89",
        )
    ),
    "conjugate": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_tensor_v2"),
            storage(),
            plain(0),
            plain((10,)),
            plain((1,)),
            b"\x89",
            b"N",
            plain({"conj": True}),
        )
    ),
    "with a state": lambda: _file(a.state(tensor(), data=b"N")),
    "with a state of another tensor": lambda: _file(tensor() + a.arguments(b"\x89", b"\x89", b"N") + b"b"),
    "with items": lambda: _file(tensor() + b"Na"),
    "with pairs": lambda: _file(tensor() + b"K\x00Ns"),
    "as a class": lambda: _file(name("torch._utils", "_rebuild_tensor_v2") + b")\x81"),
    "of nothing": lambda: _file(a.call(name("torch._utils", "_rebuild_tensor_v2"))),
    "a parameter of a parameter": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_parameter"),
            a.call(name("torch._utils", "_rebuild_parameter"), tensor(), b"\x88", b"N"),
            b"\x88",
            b"N",
        )
    ),
    "a parameter of a number": lambda: _file(
        a.call(name("torch._utils", "_rebuild_parameter"), b"K\x01", b"\x88", b"N")
    ),
    "a parameter that holds data of its own": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_parameter_with_state"),
            tensor(),
            b"\x88",
            b"N",
            b"}" + text("data") + tensor() + b"s",
        )
    ),
    "a type that makes another": lambda: _file(
        a.call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_tensor_v2"),
            name("m", "Evil"),
            a.arguments(storage(), plain(0), plain((10,)), plain((1,)), b"\x89", b"N"),
            b"}",
        )
    ),
    "a type that sets its data": lambda: _file(
        a.call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_tensor_v2"),
            name("torch", "Tensor"),
            a.arguments(storage(), plain(0), plain((10,)), plain((1,)), b"\x89", b"N"),
            b"}" + text("data") + tensor() + b"s",
        )
    ),
    "a type that sets its class": lambda: _file(
        a.call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_tensor_v2"),
            name("torch", "Tensor"),
            a.arguments(storage(), plain(0), plain((10,)), plain((1,)), b"\x89", b"N"),
            b"}" + text("__class__") + name("m", "Evil") + b"s",
        )
    ),
    "of the third version without a type": lambda: _file(
        a.call(
            name("torch._utils", "_rebuild_tensor_v3"),
            storage(),
            plain(0),
            plain((10,)),
            plain((1,)),
            b"\x89",
            b"N",
            name("os", "system"),
        )
    ),
    "legacy, of a length that differs": lambda: _legacy(10, 11),
    "legacy, of a length without end": lambda: _legacy(10, 1 << 60),
    "legacy, behind the end of the file": lambda: _legacy(1 << 40, 1 << 40),
    "legacy, of negative length": lambda: _legacy(10, -10),
    "legacy, of keys that differ": lambda: _legacy(10, 10, key="1"),
}


def _legacy(numel: int, said: int, key: str = "0") -> bytes:
    head = a.legacy(tensor(numel=numel))[: -len(a.whole(plain([])))]
    head = head[: head.rindex(b"\x80\x02")] if head.count(b"\x80\x02") > 4 else head
    return head + a.whole(plain([key])) + struct.pack("<q", said) + bytes(40)


def _saved(model: nn.Module) -> bytes:
    out = io.BytesIO()
    torch.save({"model": model.eval()}, out)
    return out.getvalue()


def _with(**attributes: Any) -> bytes:
    """A conv and a norm, with something of them changed after they were made."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    for path, value in attributes.items():
        layer, _, key = path.partition("_")
        part = model[int(layer[1:])]
        if key in ("weight", "bias", "running_mean", "running_var"):
            with torch.no_grad():
                getattr(part, key).copy_(value)
        else:
            part.__dict__[key] = value
    return _saved(model)


_NAN = torch.tensor(float("nan"))
LAYERS: dict[str, Callable[[], bytes]] = {
    "a weight that is no number": lambda: _with(l0_weight=_NAN),
    "a weight that is infinite": lambda: _with(l0_weight=torch.tensor(float("inf"))),
    "a norm that is no number": lambda: _with(l1_weight=_NAN),
    "a mean that is no number": lambda: _with(l1_running_mean=_NAN),
    "a variance that is no number": lambda: _with(l1_running_var=_NAN),
    "a variance below zero": lambda: _with(l1_running_var=torch.tensor(-1.0)),
    "an eps below zero": lambda: _with(l1_eps=-5.0),
    "an eps that is no number": lambda: _with(l1_eps=float("nan")),
    "an eps that is a text": lambda: _with(l1_eps="1e-5"),
    "zero groups": lambda: _with(l0_groups=0),
    "negative groups": lambda: _with(l0_groups=-1),
    "groups that are a text": lambda: _with(l0_groups="2"),
    "a zero stride": lambda: _with(l0_stride=(0, 0)),
    "a stride that overflows": lambda: _with(l0_stride=(1 << 70, 1 << 70)),
    "a padding without end": lambda: _with(l0_padding=(1 << 40, 1 << 40)),
    "a negative padding": lambda: _with(l0_padding=(-1, -1)),
    "a dilation without end": lambda: _with(l0_dilation=(1 << 40, 1 << 40)),
    "a mode that is none": lambda: _with(l0_padding_mode="evil"),
}
# Odd, and sound enough: what torch would not mind, or what none of the fused layers reads.
ODD: dict[str, Callable[[], bytes]] = {
    "an upsampling without end": lambda: _saved(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Upsample(scale_factor=1e5))
    ),
    "an upsampling to any size": lambda: _saved(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Upsample(size=(1 << 20, 1 << 20)))
    ),
    "a pooling to any size": lambda: _saved(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d((1 << 20, 1 << 20)))
    ),
    "a padding of any size": lambda: _saved(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ZeroPad2d(1 << 20))
    ),
    "a padding that is an object": lambda: _with(l0_padding=object),
    "channels that are not those": lambda: _with(l0_in_channels=1 << 40),
    "features that are not those": lambda: _with(l1_num_features=1 << 40),
    "a momentum that is an object": lambda: _with(l1_momentum=object),
}


def recipes() -> Iterator[Recipe]:
    for what, content in LIES.items():
        yield Recipe(f"tensor {what}", lambda c, content=content: content())
    for what, content in LAYERS.items():
        yield Recipe(f"layer {what}", lambda c, content=content: content())
