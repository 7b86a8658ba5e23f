"""Inputs of the graph that hold weights: those that nobody reads any more go, new ones take their names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.formats.pt2.archive import WEIGHTS
from app.engine.formats.pt2.json_text import Table
from app.engine.formats.pt2.payloads import Payload
from app.engine.formats.pt2.writing import metadata
from app.engine.formats.pt2.writing.plan import Names
from app.engine.ir.exported import Exported, InputSpec, TensorRef
from app.engine.ir.graph import Const

_STATISTICS: Final = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Made:
    """A new weight: its path, the name of the graph's input, and its numbers."""

    path: str
    placeholder: str
    kind: str  # parameter or buffer
    tensor: Tensor
    trains: bool
    replaces: bool  # it stands where an input of the same path stood


@dataclass(slots=True)
class Shelf:
    """Finds a place for each constant of the new operations."""

    exported: Exported
    payloads: Mapping[str, Payload]
    names: Names
    tensors: dict[str, Table]
    reads: set[str]  # names of inputs that what stays reads
    made: list[Made] = field(default_factory=list)
    _specs: dict[str, InputSpec] = field(default_factory=dict)
    _placed: dict[int, tuple[Const, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._specs = {spec.target: spec for spec in self.exported.inputs if isinstance(spec.value, TensorRef)}

    def place(self, const: Const, role: str, shape: tuple[int, ...]) -> str:
        """The name of the input that holds a constant; a stored one keeps its own."""
        standing = self._standing(const, shape)
        if standing is not None:
            self.reads.add(standing)
            return standing
        hint, tensor = self._hint(const, role), _tensor(const, shape)
        kind = "buffer" if role in (*_STATISTICS, "index") else "parameter"
        made = self._taking(hint, kind, tensor) or self._beside(hint, kind, tensor)
        self.made.append(made)
        self.tensors[made.placeholder] = metadata.plain(shape, tensor.dtype, made.trains)
        return made.placeholder

    def _standing(self, const: Const, shape: tuple[int, ...]) -> str | None:
        """The input that is this stored tensor, where it has the shape that is needed."""
        if const.literal is not None or const.compute is not None or len(const.sources) != 1 or const.shape != shape:
            return None
        spec = self._specs.get(const.paths[0]) if const.paths else None
        same = spec is not None and self.payloads[spec.target].tensor == const.sources[0]
        return spec.value.name if same and spec is not None else None

    def _hint(self, const: Const, role: str) -> str:
        """The path whose place the constant takes, or one beside it."""
        path = const.paths[0] if const.paths else ""
        prefix = path.rpartition(".")[0]
        if role == "bias of":
            return f"{prefix}.bias" if prefix else "bias"
        if path and role not in _STATISTICS:
            return path
        return f"{prefix}.{role}" if prefix else f"fused_{role}"

    def _taking(self, hint: str, kind: str, tensor: Tensor) -> Made | None:
        """In the place of an input of the same path and kind that nobody reads any more."""
        spec = self._specs.get(hint)
        free = spec is not None and spec.kind == kind and spec.value.name not in self.reads
        if spec is None or not free or any(made.path == hint for made in self.made):
            return None
        trains = kind == "parameter" and self.payloads[hint].tensor.requires_grad
        return Made(hint, spec.value.name, kind, tensor, trains, True)

    def _beside(self, hint: str, kind: str, tensor: Tensor) -> Made:
        taken = {*self.payloads, *(made.path for made in self.made)}
        path, number = hint, 0
        while path in taken:
            number += 1
            path = f"{hint}_{number}"
        prefix = "p" if kind == "parameter" else "b"
        plain = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in path)
        trains = kind == "parameter" and tensor.is_floating_point()
        return Made(path, self.names.fresh(f"{prefix}_{plain}"), kind, tensor, trains, False)


def _tensor(const: Const, shape: tuple[int, ...]) -> Tensor:
    """The numbers in the dtype of the file, dense."""
    dtype = const.stored_dtype
    exact = torch.float64 if dtype.is_floating_point and const.compute is not None else None
    return const.value(exact).to(dtype).reshape(shape).contiguous()


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs of the graph with what stands behind them, and the paths of those that are gone."""

    inputs: list[Any]
    specs: list[Any]
    gone: frozenset[str]


def signature_of(exported: Exported, module: Table, made: list[Made], before: set[str], after: set[str]) -> Signature:
    """The signature with the new weights and without those that were read `before` and are not `after`."""
    fresh = {one.path: one for one in made}
    unread = _unread(exported, before, after | {one.placeholder for one in made})
    inputs: list[Any] = []
    specs: list[Any] = []
    pairs = zip(exported.inputs, module["graph"]["inputs"], module["signature"]["input_specs"], strict=True)
    last = max((index for index, spec in enumerate(exported.inputs) if spec.kind == "parameter"), default=-1)
    added = [one for one in made if not one.replaces]
    for index, (spec, port, written) in enumerate(pairs):
        if index == last + 1:
            _extend(inputs, specs, added)
        if spec.target not in unread or (spec.target in fresh and fresh[spec.target].replaces):
            inputs.append(port)
            specs.append(written)
    if last + 1 == len(exported.inputs):
        _extend(inputs, specs, added)
    gone = frozenset(path for path in unread if path not in fresh)
    return Signature(inputs, specs, gone)


def _extend(inputs: list[Any], specs: list[Any], added: list[Made]) -> None:
    for one in sorted(added, key=lambda made: made.kind != "parameter"):
        inputs.append({"as_tensor": {"name": one.placeholder}})
        specs.append(_spec(one))


def _spec(made: Made) -> Table:
    arg = {"arg": {"name": made.placeholder}}
    if made.kind == "parameter":
        return {"parameter": arg | {"parameter_name": made.path}}
    return {"buffer": arg | {"buffer_name": made.path, "persistent": True}}


def _unread(exported: Exported, before: set[str], after: set[str]) -> set[str]:
    """Paths of weights that went out of use, and of what stood beside them and never was read (a counter)."""
    needed = {spec.target for spec in exported.outputs if spec.target}
    stored = [spec for spec in exported.inputs if spec.kind in ("parameter", "buffer", "constant")]
    unread = {
        spec.target
        for spec in stored
        if spec.value.name in before and spec.value.name not in after and spec.target not in needed
    }
    beside = {path.rpartition(".")[0] for path in unread if "." in path}
    left = {
        spec.target.rpartition(".")[0]
        for spec in stored
        if spec.target not in unread and (spec.value.name in after or spec.value.name in before)
    }
    idle = {spec.target for spec in stored if spec.value.name not in before | after and spec.target not in needed}
    return unread | {path for path in idle if path.rpartition(".")[0] in beside - left}


def table_of(payloads: Mapping[str, Payload], folder: str, made: list[Made], gone: frozenset[str]) -> dict[str, Table]:
    """The folder's table of contents: path -> where and what."""
    fresh = {one.path: one for one in made if folder == WEIGHTS}
    table = {
        path: payload.entry
        for path, payload in payloads.items()
        if payload.folder == folder and path not in gone and path not in fresh
    }
    used = {str(entry["path_name"]) for entry in table.values()}
    ordered: dict[str, Table] = {}
    for path, payload in payloads.items():
        if path in fresh and payload.folder == folder:
            ordered[path] = _entry(fresh[path], payload.record, used)
        elif path in table:
            ordered[path] = table[path]
    for path, one in fresh.items():
        if path not in ordered:
            ordered[path] = _entry(one, "", used)
    return ordered


def _entry(made: Made, record: str, used: set[str]) -> Table:
    number = 0
    while not record or record in used:
        record, number = f"weight_{number}", number + 1
    used.add(record)
    return {
        "path_name": record,
        "is_param": made.kind == "parameter",
        "use_pickle": False,
        "tensor_meta": metadata.plain(made.tensor.shape, made.tensor.dtype, made.trains),
    }


def stored_bytes(tensor: Tensor) -> memoryview:
    """The numbers as the archive has them."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
