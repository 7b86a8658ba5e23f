"""Arguments, tensor descriptions and numbers of the exported program's JSON as values."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from app.engine.formats.pt2 import json_text as js
from app.engine.formats.pt2.expressions import parse
from app.engine.ir.exported import DeviceRef, Opaque, SymbolRef, TensorMeta, TensorRef
from app.engine.ir.symbolic import Size, Symbol
from app.engine.ir.tensors import MAX_DIMENSIONS

STRIDED: Final = 7
# torch._export.serde.schema.ScalarType; newer kinds are there only where this torch has them.
_DTYPES: Final[Mapping[int, str]] = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu",
    34: "uint32", 35: "uint64",
}  # fmt: skip
_MEMORY_FORMATS: Final = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}

Expressions = dict[str, Size]


def dtype_of(code: Any, where: str) -> torch.dtype | None:
    """The dtype with this number; None where this torch has none for it."""
    known = _DTYPES.get(js.integer(code, where))
    found = getattr(torch, known, None) if known else None
    return found if isinstance(found, torch.dtype) else None


def code_of(dtype: torch.dtype) -> int:
    """The number by which the file names a dtype."""
    named = str(dtype).removeprefix("torch.")
    return next(code for code, known in _DTYPES.items() if known == named)


class Reader:
    """Reads the parts of a graph; each symbolic expression of a file is parsed once."""

    def __init__(self) -> None:
        self._expressions: Expressions = {}
        self.hints: dict[str, int] = {}  # what each symbol was when the program was exported

    def expression(self, value: Any, where: str) -> Size:
        fields = js.table(value, where)
        written = js.text(fields.get("expr_str"), where)
        if written not in self._expressions:
            self._expressions[written] = size = parse(written)
            hint = fields.get("hint")
            number = hint.get("as_int") if isinstance(hint, dict) else None
            if isinstance(size, Symbol) and number is not None:
                self.hints[size.name] = js.integer(number, where)
        return self._expressions[written]

    def size(self, value: Any, where: str) -> Size:
        kind, inner = js.union(value, where)
        if kind == "as_int":
            return js.integer(inner, where)
        if kind == "as_expr":
            return self.expression(inner, where)
        raise js.fault(where, f"is a size of the unknown kind {kind[:40]}")

    def symbol(self, value: Any, where: str) -> Size | None:
        """The expression of a number, where it is an integer; floats and truths are only looked through."""
        kind, inner = js.union(value, where)
        if kind == "as_expr":
            return self.expression(inner, where)
        return js.integer(inner, where) if kind == "as_int" else None

    def tensor(self, value: Any, where: str) -> TensorMeta:
        meta = js.table(value, where)
        sizes = tuple(self.size(one, f"a size of {where}") for one in js.items(meta.get("sizes"), where))
        strides = tuple(self.size(one, f"a stride of {where}") for one in js.items(meta.get("strides"), where))
        if len(sizes) != len(strides) or len(sizes) > MAX_DIMENSIONS:
            raise js.fault(where, "has other strides than sizes, or too many of them")
        offset = self.size(meta.get("storage_offset"), f"the offset of {where}")
        return TensorMeta(dtype_of(meta.get("dtype"), where), sizes, strides, offset)

    def argument(self, value: Any, where: str, subgraph: Callable[[Any, str], Any]) -> Any:
        """A plain value, a list, or a reference. `subgraph` reads a graph that is an argument."""
        kind, inner = js.union(value, where)
        if kind == "as_graph":
            return subgraph(inner, where)
        if kind == "as_string_to_argument":
            parts = js.table(inner, where)
            return {key: self.argument(part, where, subgraph) for key, part in parts.items()}
        read = _ARGUMENTS.get(kind)
        return Opaque(kind[:100]) if read is None else read(inner, where)


_Read = Callable[[Any, str], Any]


def _tensor(value: Any, where: str) -> TensorRef:
    return TensorRef(js.name(js.table(value, where).get("name"), where))


def _optional_tensor(value: Any, where: str) -> TensorRef | None:
    kind, inner = js.union(value, where)
    return _tensor(inner, where) if kind == "as_tensor" else None


def _symbol_or(plain: _Read) -> _Read:
    def read(value: Any, where: str) -> Any:
        kind, inner = js.union(value, where)
        return SymbolRef(js.name(inner, where)) if kind == "as_name" else plain(inner, where)

    return read


def _list_of(read: _Read) -> _Read:
    return lambda value, where: [read(one, where) for one in js.items(value, where)]


def _memory_format(value: Any, where: str) -> Any:
    return _MEMORY_FORMATS.get(js.integer(value, where), Opaque("a memory format"))


def _layout(value: Any, where: str) -> Any:
    return torch.strided if js.integer(value, where) == STRIDED else Opaque("a layout that is not strided")


def _device(value: Any, where: str) -> DeviceRef:
    return DeviceRef(js.name(js.table(value, where).get("type"), where))


def _scalar_type(value: Any, where: str) -> Any:
    return dtype_of(value, where) or Opaque("a dtype that is not known here")


def _complex(value: Any, where: str) -> complex:
    parts = js.table(value, where)
    return complex(js.number(parts.get("real"), where), js.number(parts.get("imag"), where))


_ARGUMENTS: Final[Mapping[str, _Read]] = {
    "as_none": lambda value, where: None,
    "as_tensor": _tensor,
    "as_tensors": _list_of(_tensor),
    "as_optional_tensor": _optional_tensor,
    "as_optional_tensors": _list_of(_optional_tensor),
    "as_nested_tensors": _list_of(_list_of(_tensor)),
    "as_int": js.integer,
    "as_ints": _list_of(js.integer),
    "as_int_lists": _list_of(_list_of(js.integer)),
    "as_float": js.number,
    "as_floats": _list_of(js.number),
    "as_float_lists": _list_of(_list_of(js.number)),
    "as_bool": js.truth,
    "as_bools": _list_of(js.truth),
    "as_string": js.text,
    "as_strings": _list_of(js.text),
    "as_complex": _complex,
    "as_sym_int": _symbol_or(js.integer),
    "as_sym_ints": _list_of(_symbol_or(js.integer)),
    "as_sym_float": _symbol_or(js.number),
    "as_sym_floats": _list_of(_symbol_or(js.number)),
    "as_sym_bool": _symbol_or(js.truth),
    "as_sym_bools": _list_of(_symbol_or(js.truth)),
    "as_scalar_type": _scalar_type,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": _device,
}
