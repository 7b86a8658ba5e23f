"""ONNX's element types as torch dtypes. The numbers are those of TensorProto.DataType (onnx.proto)."""

from typing import Final

import torch

STRING: Final = 8

_DTYPES: Final[dict[int, torch.dtype]] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
    24: torch.float8_e8m0fnu,
}
_NUMBERS: Final = {dtype: number for number, dtype in _DTYPES.items()}
# Several elements to a byte: UINT4, INT4, FLOAT4E2M1, UINT2, INT2. torch has no dtype that holds them.
_PACKED_BITS: Final[dict[int, int]] = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}


def torch_dtype(elem_type: int) -> torch.dtype | None:
    """The dtype that holds such elements; None for strings, packed and unknown types."""
    return _DTYPES.get(elem_type)


def elem_type(dtype: torch.dtype) -> int:
    """The element type of a dtype that `torch_dtype` gives."""
    return _NUMBERS[dtype]


def element_bits(elem_type: int) -> int | None:
    """How many bits of `raw_data` an element takes; None for strings and types that are not known here."""
    dtype = _DTYPES.get(elem_type)
    return _PACKED_BITS.get(elem_type) if dtype is None else dtype.itemsize * 8
