"""Tensor nodes, read and made, against what torch itself says."""

import pytest
import torch

from app.engine.formats import read_file, write_file
from app.engine.ir.node import Global, Object
from app.engine.ir.tensors import (
    buffer,
    is_parameter,
    is_tensor,
    parameter,
    storage_dtype,
    storage_kind,
    tensor_of,
)

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


def stored(tmp_path, value, **options):
    torch.save(value, tmp_path / "x.pt", **options)
    return read_file(tmp_path / "x.pt").root


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_of_every_dtype_is_read_as_it_was_saved(tmp_path, dtype):
    original = torch.arange(6).reshape(2, 3).to(torch.uint8).to(torch.float32).to(dtype)

    tensor = tensor_of(stored(tmp_path, original))

    assert (tensor.dtype, tensor.shape, tensor.numel, tensor.nbytes) == (dtype, (2, 3), 6, 6 * dtype.itemsize)
    assert raw(tensor.read()) == raw(original)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_that_is_made_loads_in_torch_as_what_it_was_made_of(tmp_path, dtype):
    original = torch.arange(6).reshape(2, 3).to(torch.uint8).to(torch.float32).to(dtype)
    torch.save([], tmp_path / "x.pt")
    file = read_file(tmp_path / "x.pt")

    write_file(file, [buffer(original), parameter(original)], tmp_path / "y.pt")
    made, held = torch.load(tmp_path / "y.pt", weights_only=True)

    assert (type(made), type(held), held.requires_grad) == (torch.Tensor, torch.nn.Parameter, False)
    assert raw(made) == raw(held.detach()) == raw(original)


def test_a_made_parameter_is_the_node_that_torch_writes(tmp_path):
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    theirs, ours = stored(tmp_path, torch.nn.Parameter(weight)), parameter(weight, requires_grad=True)

    for node in (theirs, ours):
        assert is_parameter(node)
        assert (node.origin, node.how, len(node.args)) == (Global("torch._utils", "_rebuild_parameter"), "reduce", 3)
    (their_tensor, our_tensor) = (tensor_of(node) for node in (theirs, ours))
    assert (their_tensor.shape, their_tensor.stride) == (our_tensor.shape, our_tensor.stride)
    assert their_tensor.storage.kind == our_tensor.storage.kind
    assert torch.equal(their_tensor.read(), our_tensor.read())
    assert our_tensor.storage.key == ""


def test_a_made_tensor_does_not_change_with_the_one_it_was_made_of():
    original = torch.ones(3)
    node = buffer(original)

    original.zero_()

    assert tensor_of(node).read().tolist() == [1.0, 1.0, 1.0]


def test_a_view_holds_only_what_it_shows_when_it_is_made():
    node = buffer(torch.arange(1000.0)[10:20:2])

    assert tensor_of(node).storage.numel == 5
    assert tensor_of(node).read().tolist() == [10.0, 12.0, 14.0, 16.0, 18.0]


def test_views_tied_weights_and_strides_are_read_on_one_storage_without_a_copy(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    root = stored(tmp_path, [base, base[1:3, ::2], base.t(), base[0, 0]])
    tensors = [tensor_of(node) for node in root]

    assert len({id(tensor.storage) for tensor in tensors}) == 1
    for tensor, original in zip(tensors, [base, base[1:3, ::2], base.t(), base[0, 0]], strict=True):
        assert torch.equal(tensor.read(), original)
        assert tensor.read().stride() == original.stride()
    addresses = {tensor.read().untyped_storage().data_ptr() for tensor in tensors}
    assert len(addresses) == 1


def test_a_misaligned_storage_is_copied_and_read_right(tmp_path):
    tensors = [torch.arange(n, dtype=torch.uint8) for n in (1, 2, 3)] + [torch.arange(5.0, dtype=torch.float64)]
    root = stored(tmp_path, tensors, _use_new_zipfile_serialization=False)

    assert [tensor_of(node).read().tolist() for node in root] == [tensor.tolist() for tensor in tensors]


def test_what_is_written_into_a_tensor_never_reaches_the_file(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()

    tensor_of(read_file(tmp_path / "x.pt").root).read().fill_(7)

    assert (tmp_path / "x.pt").read_bytes() == before


def test_requires_grad_is_that_of_the_parameter(tmp_path):
    frozen, trained, plain = stored(
        tmp_path,
        [torch.nn.Parameter(torch.ones(1), requires_grad=False), torch.nn.Parameter(torch.ones(1)), torch.ones(1)],
    )

    assert [tensor_of(node).requires_grad for node in (frozen, trained, plain)] == [False, True, False]
    assert [is_parameter(node) for node in (frozen, trained, plain)] == [True, True, False]


def test_parameters_and_buffers_with_attributes_are_tensors(tmp_path):
    noted = torch.nn.Parameter(torch.ones(2))
    noted.note = "kept"
    with_state, as_buffer = stored(tmp_path, [noted, torch.nn.Buffer(torch.zeros(2))])

    assert with_state.origin.name == "_rebuild_parameter_with_state"
    assert as_buffer.origin.name == "_rebuild_from_type_v2"
    assert tensor_of(with_state).read().tolist() == [1.0, 1.0]
    assert tensor_of(as_buffer).read().tolist() == [0.0, 0.0]


def test_other_nodes_and_values_are_no_tensors():
    nested = Object(Global("torch._utils", "_rebuild_parameter"), ())
    for _ in range(5000):
        nested = Object(Global("torch._utils", "_rebuild_parameter"), (nested, True, None))
    odd = Object(Global("torch._tensor", "_rebuild_from_type_v2"), ([], [], [], []))
    for value in (None, 1, [], Object(Global("m", "C"), ()), Object(Object(Global("m", "C"), ()), ()), nested, odd):
        assert not is_tensor(value)
        assert not is_parameter(value)


def test_storage_classes_are_matched_exactly_and_both_ways():
    for dtype in DTYPES:
        assert storage_dtype(storage_kind(dtype)) in (dtype, torch.uint8)
    assert storage_dtype(Global("torch", "FloatStorage")) == torch.float32
    assert storage_dtype(Global("os", "FloatStorage")) is None
    assert storage_dtype(Global("torch", "FloatStorage.x")) is None
