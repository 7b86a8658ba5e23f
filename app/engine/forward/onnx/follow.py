"""Follows an ONNX graph from its inputs and writes down what it computes in the small SSA form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Final

from onnx import ModelProto, NodeProto, defs

from app.engine.forward.onnx.call import Call, Dims, first_output
from app.engine.forward.onnx.certainty import certain_target
from app.engine.forward.onnx.emitter import READ_ELEMENTS, Emitter, Known
from app.engine.forward.onnx.ends import Ends, live_graph
from app.engine.forward.onnx.inner import captured, free, inner_graphs, needed
from app.engine.forward.onnx.operators.normalization import PARTIAL
from app.engine.forward.onnx.operators.table import (
    CONVOLUTIONS,
    FUSED_CONV,
    OPERATORS,
    OTHERS,
    RANDOM,
    SHAPE_KEEPING,
    SIZED_BY,
    WEIGHTED,
)
from app.engine.forward.onnx.ports import DEFAULTS_SINCE, defaults, ports
from app.engine.forward.onnx.static import declared_types, in_default_domain, static_dims, traced_dims
from app.engine.forward.vocabulary import UnknownFlow, const
from app.engine.ir.graph import Const, Value
from app.engine.ir.onnx_dtypes import torch_dtype
from app.engine.ir.program import Inner, Program, Skipped
from app.engine.ir.tensors import StoredTensor

_WRITTEN_ELEMENTS: Final = 1 << 8  # constants up to here are surely written in the place of what computes them
_CONSTANTS_ARE_WRITTEN_FROM: Final = DEFAULTS_SINCE  # before, each initializer is an input as well


def follow(
    model: ModelProto,
    tensors: Mapping[str, StoredTensor],
    shapes: Mapping[str, tuple[int, ...]],
    fold_defaults: bool = False,
) -> Program:
    """The whole graph for inputs of these shapes. What is not known is skipped and named; that is no error.

    An initializer that a caller may override is taken as it is; nothing but `fold_defaults` makes it a constant.
    """
    open_to_callers = () if fold_defaults else defaults(model)
    return _Follower(in_default_domain(model), tensors, shapes, open_to_callers).program()


@dataclass(slots=True)
class _Seen:
    """What came of the graph so far."""

    known: dict[str, Known] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # of values, by id
    aliases: dict[str, str] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    opened: list[Value] = field(default_factory=list)  # outputs of operators that are not read
    ended: list[Value] = field(default_factory=list)  # what those operators take in
    # By the operator that asks for it: of which the file wants to know the sizes.
    measured: list[tuple[str, Value]] = field(default_factory=list)
    targets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    overridable: dict[str, str] = field(default_factory=dict)  # names of constants: the default that they depend on
    withheld: list[Skipped] = field(default_factory=list)
    inner: list[Inner] = field(default_factory=list)


class _Follower:
    def __init__(
        self,
        model: ModelProto,
        tensors: Mapping[str, StoredTensor],
        shapes: Mapping[str, tuple[int, ...]],
        defaults: tuple[str, ...],
    ) -> None:
        self._model, self._tensors, self._shapes, self._defaults = model, tensors, shapes, defaults
        self._ops, self._seen = Emitter(), _Seen()
        self._opsets = {opset.domain: opset.version for opset in model.opset_import}
        self._static = static_dims(model, defaults)
        self._outputs = {value.name for value in model.graph.output}

    @cached_property
    def _traced(self) -> dict[str, Dims]:
        return traced_dims(self._model, self._shapes)

    @cached_property
    def _types(self) -> dict[str, int]:
        return declared_types(self._model)

    def program(self) -> Program:
        seen = self._seen
        inputs = self._inputs()
        for node in needed(self._model.graph):
            self._visit(node)
        outputs = [
            (value.name, known)
            for value in self._model.graph.output
            if isinstance(known := seen.known.get(value.name), Value) and not any(known is one for one in seen.opened)
        ]
        asking = {first_output(node) for node in needed(self._model.graph, seen.targets, self._settled())}
        measured = [value for owner, value in seen.measured if owner in asking]
        ends = Ends([value for _, value in outputs], seen.ended, measured)
        graph = live_graph((*inputs, *seen.opened), self._ops.nodes, ends)
        return Program(
            graph,
            tuple(seen.names[id(value)] for value in inputs),
            tuple(name for name, _ in outputs),
            seen.names,
            frozenset(seen.partial),
            tuple(seen.skipped),
            seen.aliases,
            {name: known for name, known in seen.known.items() if isinstance(known, Const)},
            seen.targets,
            frozenset(id(value) for value in measured),
            tuple(seen.inner),
            self._defaults,
            tuple(seen.withheld),
            self._static,
        )

    def _settled(self) -> set[str]:
        """Sizes and the like that are the same for every input: they can be written, and nobody is asked for them."""
        if not self._writes_constants():
            return set()
        given = {node.output[0] for node in self._model.graph.node if len(node.output) == 1} - self._outputs
        known = ((name, self._seen.known.get(name)) for name in given)
        return {
            name
            for name, one in known
            if isinstance(one, Const) and not one.varies and prod(one.shape) <= _WRITTEN_ELEMENTS
        }

    def _writes_constants(self) -> bool:
        return self._model.ir_version >= _CONSTANTS_ARE_WRITTEN_FROM

    def _inputs(self) -> list[Value]:
        """The file's inputs as values; initializers as constants."""
        for tensor in self._model.graph.initializer:
            if tensor.name in self._tensors:
                given = const(tensor.name, self._tensors[tensor.name])
                # As a size that may differ: it may be looked at, but no weight is made of it.
                overridable = tensor.name in self._defaults
                self._seen.known[tensor.name] = replace(given, varies=True) if overridable else given
        self._seen.overridable = {name: name for name in self._defaults}
        inputs = []
        for port in ports(self._model):
            value = Value(tuple(self._shapes[port.name]), None, port.dtype)
            self._bind(port.name, value)
            inputs.append(value)
        return inputs

    def _bind(self, name: str, known: Known) -> None:
        self._seen.known[name] = known
        if isinstance(known, Value):
            self._seen.names.setdefault(id(known), name)

    def _visit(self, node: NodeProto) -> None:
        """One operator: its outputs become known, or it is skipped."""
        self._ops.owner = first_output(node)
        if not self._ops.owner:
            return
        self._seen.withheld.extend(_within(node))
        self._enter(node)
        before = len(self._ops.nodes)
        try:
            results = self._read(node)
        except UnknownFlow as why:
            del self._ops.nodes[before:]
            self._skip(node, why)
            return
        for name, known in zip(node.output, results, strict=False):
            if name:
                self._take(node, name, known)
        self._withhold(node, results)
        if all(isinstance(known, Const) for known in results):
            self._measure(node, [known for known in results if isinstance(known, Const)])
        if node.op_type in PARTIAL and len(self._ops.nodes) - before > 1:
            self._seen.partial.add(self._ops.owner)

    def _enter(self, node: NodeProto) -> None:
        """Keep what the graphs within an operator read, where all of it is known."""
        known = self._seen.known
        for position, graph in enumerate(inner_graphs(node)):
            names = dict.fromkeys(free(graph))
            if all(name in known for name in names):
                inputs = tuple(known.get(name) for name in node.input)
                found = {name: known[name] for name in names}
                self._seen.inner.append(Inner(self._ops.owner, position, inputs, found))

    def _withhold(self, node: NodeProto, results: Sequence[Known]) -> None:
        """What is made of a default depends on the caller, too; an operator that would fold it is told."""
        found = [self._seen.overridable[name] for name in node.input if name in self._seen.overridable]
        if not found:
            self._tell_computed(node)
            return
        if all(isinstance(known, Const) for known in results):
            self._seen.overridable.update((name, found[0]) for name in node.output if name)
        elif node.op_type in WEIGHTED and not node.domain:
            why = (
                f"{node.op_type} reads {found[0]!r}, a default that a caller may override as an input of that name; "
                "overridable=fold takes it as a constant"
            )
            self._seen.withheld.append(Skipped(self._ops.owner, "overridable-default", why))

    def _tell_computed(self, node: NodeProto) -> None:
        """Why nothing goes into a convolution whose weight is made while the model runs, nor a norm into anything."""
        computed = [name for name in node.input[1:] if isinstance(self._seen.known.get(name), Value)]
        code, why = "weights-not-constant", ""
        if node.domain:
            return
        if node.op_type in CONVOLUTIONS and computed:
            why = f"{node.op_type} reads {computed[0]!r}, which is no constant"
        elif node.op_type == "BatchNormalization" and _trains(node):
            code = "batch-norm-without-statistics"
            why = "BatchNormalization is in training mode: its scale depends on the batch"
        if why:
            self._seen.withheld.append(Skipped(self._ops.owner, code, why))

    def _take(self, node: NodeProto, name: str, known: Known) -> None:
        """An output that is one of the inputs says that the operator changes nothing."""
        same = next((read for read in node.input if read and self._seen.known.get(read) is known), None)
        if same is not None:
            self._seen.aliases[name] = self._seen.aliases.get(same, same)
        self._bind(name, known)

    def _measure(self, node: NodeProto, results: Sequence[Const]) -> None:
        """An operator that makes constants of a value's sizes stays in the file, unless its results can be written."""
        written = self._writes_constants() and not set(node.output) & self._outputs
        if not written or any(known.varies for known in results):
            known = (self._seen.known.get(name) for name in node.input)
            self._seen.measured.extend((self._ops.owner, value) for value in known if isinstance(value, Value))

    def _read(self, node: NodeProto) -> Sequence[Known]:
        if node.op_type == "Constant" and not node.domain:
            return [self._constant(node)]
        self._check_known(node)
        call = self._call(node)
        if node.op_type in RANDOM:
            raise call.unknown("not-deterministic", f"{node.op_type} gives other numbers each time")
        self._check_sized(call)
        described = OPERATORS.get(node.op_type, OTHERS) if not node.domain else OTHERS
        results = described.read(call)
        target = certain_target(call) if node.op_type == "Reshape" and described is not OTHERS else None
        if target is not None:
            self._seen.targets[self._ops.owner] = target
        if described is OTHERS:
            self._check_types(call, results)
        if len(results) < call.outputs:
            raise call.unknown("operator-not-evaluated", f"{node.op_type} has more outputs than are read here")
        if any(True for _ in inner_graphs(node)):
            self._check_inner(call, results)
        return results

    def _constant(self, node: NodeProto) -> Const:
        stored = self._tensors.get(node.output[0])
        if stored is None:
            raise UnknownFlow(self._ops.owner, "dtype-not-read", "a Constant of strings, packed or sparse elements")
        return const(node.output[0], stored)

    def _check_known(self, node: NodeProto) -> None:
        opset = self._opsets.get(node.domain)
        known = opset is not None and defs.has(node.op_type, opset, node.domain)
        # GroupNormalization was deprecated as soon as it came; runtimes take it, and so does the table.
        if known and (node.domain or node.op_type not in OPERATORS):
            known = not defs.get_schema(node.op_type, opset or 0, node.domain).deprecated
        if not known:
            where = f" of {node.domain}" if node.domain else f" of opset {opset}"
            raise UnknownFlow(self._ops.owner, "operator-not-known", f"{node.op_type}{where} is not known here")

    def _call(self, node: NodeProto) -> Call:
        inputs = tuple(self._lookup(name) if name else None for name in node.input)
        inner = tuple((name, self._lookup(name)) for name in captured(node))
        return Call(node, inputs, self._opsets[node.domain], self._ops, self._static, inner)

    def _lookup(self, name: str) -> Known:
        known = self._seen.known.get(name)
        if known is None:
            raise UnknownFlow(self._ops.owner, "input-not-known", f"{name!r}, which it reads, could not be followed")
        return known

    def _check_sized(self, call: Call) -> None:
        for index in SIZED_BY.get(call.name, ()):
            known = call.get(index)
            if known is not None and not (isinstance(known, Const) and prod(known.shape) <= READ_ELEMENTS):
                raise call.unknown("needs-its-data", f"how large the output of {call.name} is depends on what it reads")

    def _check_types(self, call: Call, results: Sequence[Known]) -> None:
        """An implementation that is not ours may forget what type an output has."""
        for name, known in zip(call.node.output, results, strict=False):
            declared = torch_dtype(self._types.get(name, 0))
            if name and declared is not None and declared != self._ops.dtype(known):
                raise call.unknown("operator-not-evaluated", f"{call.name} gives {self._ops.dtype(known)} here")

    def _check_inner(self, call: Call, results: Sequence[Known]) -> None:
        """Which way an inner graph goes depends on what it reads: its outputs must be of one shape all the same."""
        for name, known in zip(call.node.output, results, strict=False):
            if name and isinstance(known, Value) and self._traced.get(name) != known.shape:
                raise call.unknown("needs-its-data", f"how large {name!r} is depends on what {call.name} reads")

    def _skip(self, node: NodeProto, why: UnknownFlow) -> None:
        """What goes in must still be right, and what comes out is taken as given where its shape is known."""
        seen = self._seen
        seen.skipped.append(Skipped(why.path, why.code, why.reason))
        read = (seen.known.get(name) for name in (*node.input, *captured(node)))
        seen.ended.extend(known for known in read if isinstance(known, Value))
        kept = self._as_large(node)
        for name in node.output:
            dims, dtype = self._traced.get(name), torch_dtype(self._types.get(name, 0))
            if name == node.output[0] and isinstance(kept, Value):
                dims, dtype = kept.shape, kept.dtype
            if name and dims is not None and dtype is not None and _sizes(dims) is not None:
                value = Value(_sizes(dims) or (), None, dtype)
                self._bind(name, value)
                seen.opened.append(value)

    def _as_large(self, node: NodeProto) -> Known | None:
        """Something as large as the first output of an operator of another domain, where that is known."""
        if (node.domain, node.op_type) in SHAPE_KEEPING:
            return self._seen.known.get(node.input[0])
        if (node.domain, node.op_type) != FUSED_CONV:
            return None
        plain = NodeProto(op_type="Conv", input=node.input[:3], output=node.output[:1])
        plain.attribute.extend(one for one in node.attribute if not one.name.startswith("activation"))
        before = len(self._ops.nodes)
        try:
            return self._read(plain)[0]
        except UnknownFlow:
            return None
        finally:
            del self._ops.nodes[before:]


def _trains(node: NodeProto) -> bool:
    """Whether a batch norm takes the statistics of its input: by its attribute, or before opset 14 by its outputs."""
    return sum(map(bool, node.output)) > 1 or any(a.name == "training_mode" and a.i for a in node.attribute)


def _within(node: NodeProto) -> Iterator[Skipped]:
    """The norms in the graphs of an operator, told of unless these are followed."""
    for graph in inner_graphs(node):
        for inner in graph.node:
            if inner.op_type == "BatchNormalization" and not inner.domain:
                why = (
                    f"it stands in a graph within {node.op_type} {first_output(node)!r}: it could not be followed there"
                )
                yield Skipped(first_output(inner), "within-a-body", why)
            yield from _within(inner)


def _sizes(dims: Dims) -> tuple[int, ...] | None:
    sizes = tuple(size for size in dims if size is not None and size > 0)
    return sizes if len(sizes) == len(dims) else None
