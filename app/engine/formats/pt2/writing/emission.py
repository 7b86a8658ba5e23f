"""New operations as nodes of the exported program's JSON, in the style of the file: as written, or decomposed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from app.engine.formats.pt2.json_text import Table
from app.engine.formats.pt2.writing import metadata
from app.engine.formats.pt2.writing.plan import Names
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Node

_POSITIONAL: Final = 1
_KEPT_METADATA: Final = ("stack_trace", "nn_module_stack", "torch_fn")
_TRANSPOSED: Final = ("", "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
_MATRIX: Final = 2
_MOMENTUM: Final = 0.1

# Gives the name of the graph input that holds a constant. Role and shape say what it is for.
Place = Callable[[Const, str, tuple[int, ...]], str]


def operators_of(operation: ir.Operation, rank: int) -> int | None:
    """How many aten operators an operation is written as, on values of this many dimensions; None if it can't be."""
    match operation:
        case ir.Conv(padding_mode="zeros"):
            uneven = any(begin != end for begin, end in operation.padding)
            return None if uneven and operation.transposed else 1 + uneven
        case ir.Conv() | ir.Apply():
            return None
        case ir.Linear() | ir.Scale() | ir.Shift() | ir.Add() | ir.Concat() | ir.AvgPool() | ir.Take():
            return 1
        case ir.BatchNorm():
            return None if operation.mean is None or operation.var is None else 1
        case ir.Pad():
            return 1


@dataclass(slots=True)
class Emitter:
    """Writes nodes; `tensors` are the descriptions of the graph's tensors, which it adds to."""

    decomposed: bool
    tensors: dict[str, Table]
    names: Names
    place: Place

    def nodes(self, node: Node, reads: Sequence[str], output: str, like: Table) -> list[Table]:
        """The JSON of one operation; `like` is the node whose origin it shares."""
        origin = {key: like[key] for key in _KEPT_METADATA if key in like}
        written = self._written(node, reads, output)
        return [one | {"metadata": origin} for one in written]

    def _written(self, node: Node, reads: Sequence[str], output: str) -> list[Table]:
        operation, rank = node.operation, len(node.output.shape)
        match operation:
            case ir.Conv():
                return self._conv(operation, reads[0], output)
            case ir.Linear():
                return self._linear(operation, reads[0], output, rank)
            case ir.BatchNorm():
                return [self._batch_norm(operation, reads[0], output)]
            case ir.Scale():
                factor = self._along(operation.factor, "scale", operation.axis, rank)
                return [_node("mul.Tensor", output, ("self", _tensor(reads[0])), ("other", factor))]
            case ir.Shift():
                offset = self._along(operation.offset, "shift", operation.axis, rank)
                return [_node("add.Tensor", output, ("self", _tensor(reads[0])), ("other", offset))]
            case ir.Add():
                return [_node("add.Tensor", output, ("self", _tensor(reads[0])), ("other", _tensor(reads[1])))]
            case ir.Concat():
                tensors = {"as_tensors": [{"name": name} for name in reads]}
                return [_node("cat.default", output, ("tensors", tensors), ("dim", {"as_int": operation.dim}))]
            case ir.Pad():
                return [_pad(operation.padding, reads[0], output)]
            case ir.AvgPool():
                return [_avg_pool(operation, reads[0], output)]
            case ir.Take():
                return [self._take(operation, reads[0], output)]
            case ir.Apply():
                raise AssertionError(f"{operation.name} is no operation that is written")

    # --- layers ---------------------------------------------------------------------------------------------------

    def _conv(self, operation: ir.Conv, x: str, output: str) -> list[Table]:
        before = []
        padding = [begin for begin, _ in operation.padding]
        if any(begin != end for begin, end in operation.padding):
            padded = self.names.fresh(f"{output}_padded")
            self.tensors[padded] = metadata.padded(self.tensors[x], operation.padding)
            before = [_pad(operation.padding, x, padded)]
            x, padding = padded, [0] * len(padding)
        weight, bias = self._weights(operation.weight, operation.bias)
        return [*before, self._convolution(operation, (x, weight, bias), padding, output)]

    def _convolution(self, operation: ir.Conv, parts: tuple[str, str, Table], padding: list[int], output: str) -> Table:
        x, weight, bias = parts
        dims = len(operation.stride)
        stride, pads = ("stride", _ints(operation.stride)), ("padding", _ints(padding))
        dilation, groups = ("dilation", _ints(operation.dilation)), ("groups", {"as_int": operation.groups})
        extra = ("output_padding", _ints(operation.output_padding or (0,) * dims))
        first = (("input", _tensor(x)), ("weight", _tensor(weight)), ("bias", bias), stride, pads)
        if self.decomposed:
            transposed = ("transposed", {"as_bool": operation.transposed})
            return _node("convolution.default", output, *first, dilation, transposed, extra, groups)
        if operation.transposed:
            return _node(_TRANSPOSED[dims], output, *first, extra, groups, dilation)
        return _node(f"conv{dims}d.default", output, *first, dilation, groups)

    def _linear(self, operation: ir.Linear, x: str, output: str, rank: int) -> list[Table]:
        weight, bias = self._weights(operation.weight, operation.bias)
        if not self.decomposed or rank != _MATRIX:
            parts = (("input", _tensor(x)), ("weight", _tensor(weight)), ("bias", bias))
            return [_node("linear.default", output, *parts)]
        turned = self.names.fresh(f"{output}_weight")
        rows, columns = operation.weight.shape
        self.tensors[turned] = self.tensors[weight] | {
            "sizes": [{"as_int": columns}, {"as_int": rows}],
            "strides": [{"as_int": 1}, {"as_int": max(columns, 1)}],
        }
        permuted = _node("permute.default", turned, ("self", _tensor(weight)), ("dims", _ints((1, 0))))
        matrices = (("mat1", _tensor(x)), ("mat2", _tensor(turned)))
        if operation.bias is None:
            return [permuted, _node("mm.default", output, ("self", _tensor(x)), ("mat2", _tensor(turned)))]
        return [permuted, _node("addmm.default", output, ("self", bias), *matrices)]

    def _weights(self, weight: Const, bias: Const | None) -> tuple[str, Table]:
        placed = self.place(weight, "weight", weight.shape)
        if bias is None:
            return placed, {"as_none": True}
        # Its name is made from the weight's where the file has none for it.
        hinted = bias if bias.paths else Const(bias.sources, weight.paths[:1], bias.shape, bias.compute, bias.literal)
        role = "bias" if bias.paths else "bias of"
        return placed, _tensor(self.place(hinted, role, bias.shape))

    def _batch_norm(self, operation: ir.BatchNorm, x: str, output: str) -> Table:
        parts = {
            "weight": operation.weight,
            "bias": operation.bias,
            "running_mean": operation.mean,
            "running_var": operation.var,
        }
        placed = [
            (role, {"as_none": True} if const is None else _tensor(self.place(const, role, (const.numel,))))
            for role, const in parts.items()
        ]
        momentum, eps = ("momentum", {"as_float": _MOMENTUM}), ("eps", {"as_float": operation.eps})
        if not self.decomposed:
            training, cudnn = ("training", {"as_bool": False}), ("cudnn_enabled", {"as_bool": False})
            parts_ = (("input", _tensor(x)), *placed, training, momentum, eps, cudnn)
            return _node("batch_norm.default", output, *parts_)
        name = "_native_batch_norm_legit_no_training.default"
        found = _node(name, output, ("input", _tensor(x)), *placed, momentum, eps)
        return found | {"outputs": [_tensor(output), *self._unused(output)], "name": self.names.fresh(f"{output}_all")}

    def _unused(self, output: str) -> list[Table]:
        """The saved statistics of a batch norm at rest: empty tensors."""
        names = [self.names.fresh(f"{output}_unused_{number}") for number in (1, 2)]
        for name in names:
            self.tensors[name] = metadata.plain((0,), torch.float32, False)
        return [_tensor(name) for name in names]

    # --- smaller operations -------------------------------------------------------------------------------------

    def _along(self, const: Const, role: str, axis: int, rank: int) -> Table:
        """A number, or a tensor that broadcasts over all other dimensions."""
        if const.numel == 1:
            return {"as_float": float(const.value(torch.float64).reshape(()))}
        return _tensor(self.place(const, role, (const.numel, *(1,) * (rank - 1 - axis))))

    def _take(self, operation: ir.Take, x: str, output: str) -> Table:
        """A copy even of channels in a row: a view that follows may need the memory in order."""
        chosen = operation.channels
        dim = ("dim", {"as_int": operation.axis})
        index = Const((), (), (len(chosen),), None, torch.tensor(chosen))
        placed = _tensor(self.place(index, "index", index.shape))
        return _node("index_select.default", output, ("self", _tensor(x)), dim, ("index", placed))


def without_affine(written: Table, output: str) -> Table:
    """A norm's node without its factor and offset."""
    inputs = [
        one | {"arg": {"as_none": True}} if one["name"] in ("weight", "bias") else one for one in written["inputs"]
    ]
    outputs = [_tensor(output), *written["outputs"][1:]]
    named = {"name": output} if len(outputs) == 1 else {}
    return written | {"inputs": inputs, "outputs": outputs} | named


def _pad(padding: Sequence[tuple[int, int]], x: str, output: str) -> Table:
    flat = [side for pair in reversed(padding) for side in pair]
    value = ("value", {"as_float": 0.0})
    return _node("constant_pad_nd.default", output, ("self", _tensor(x)), ("pad", _ints(flat)), value)


def _avg_pool(operation: ir.AvgPool, x: str, output: str) -> Table:
    return _node(
        f"avg_pool{len(operation.kernel)}d.default",
        output,
        ("self", _tensor(x)),
        ("kernel_size", _ints(operation.kernel)),
        ("stride", _ints(operation.stride)),
        ("padding", _ints(operation.padding)),
        ("ceil_mode", {"as_bool": operation.ceil_mode}),
        ("count_include_pad", {"as_bool": operation.count_include_pad}),
    )


def _node(name: str, output: str, *arguments: tuple[str, Any]) -> Table:
    return {
        "target": f"torch.ops.aten.{name}",
        "inputs": [{"name": argument, "arg": value, "kind": _POSITIONAL} for argument, value in arguments],
        "outputs": [_tensor(output)],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": output,
    }


def _tensor(name: str) -> Table:
    return {"as_tensor": {"name": name}}


def _ints(numbers: Sequence[int]) -> Table:
    return {"as_ints": list(numbers)}
