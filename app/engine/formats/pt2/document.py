"""The JSON of an exported program as an `Exported`: every part checked once, then typed."""

from collections.abc import Mapping
from typing import Any, Final

from app.engine.formats.pt2 import json_text as js
from app.engine.formats.pt2 import texts
from app.engine.formats.pt2.arguments import Reader
from app.engine.formats.pt2.expressions import parse
from app.engine.formats.pt2.payloads import Payload
from app.engine.ir.exported import (
    Exported,
    ExportedGraph,
    InputSpec,
    NamedArgument,
    Operator,
    OutputSpec,
    Subgraph,
    SymbolRef,
    TensorRef,
    references,
)
from app.engine.ir.symbolic import LARGEST, Symbol
from app.errors import MalformedFile, UnsupportedContent

_MAJOR: Final = 8  # torch 2.5 to 2.14
_FUNCTIONAL: Final = "ATEN"
_DEEPEST: Final = 8  # graphs within graphs
_TARGETS: Final = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_KINDS: Final = {"parameter": "parameter", "buffer": "buffer", "tensor_constant": "constant"}


def read_document(document: js.Table, payloads: Mapping[str, Payload]) -> Exported:
    """The program. Raises MalformedFile, or UnsupportedContent for what is sound and not read."""
    _check_version(document)
    texts.check_guards(document.get("guards_code", []))
    ranges = _ranges(document)
    module = js.table(document.get("graph_module"), "graph_module")
    graphs = _Graphs()
    graph = graphs.graph(js.table(module.get("graph"), "graph"), 0)
    signature = js.table(module.get("signature"), "signature")
    inputs = tuple(_input(spec) for spec in js.items(signature.get("input_specs"), "input_specs"))
    outputs = tuple(_output(spec) for spec in js.items(signature.get("output_specs"), "output_specs"))
    _check_signature(graph, inputs, outputs, payloads)
    return Exported(
        graph=graph,
        inputs=inputs,
        outputs=outputs,
        stored={path: payload.tensor for path, payload in payloads.items()},
        functional=_FUNCTIONAL in js.items(document.get("verifiers", []), "verifiers"),
        held=_called(js.items(module.get("module_call_graph"), "module_call_graph")),
        ranges=ranges,
        hints=graphs.hints,
    )


def _check_version(document: js.Table) -> None:
    version = js.table(document.get("schema_version"), "schema_version")
    major = js.integer(version.get("major"), "schema_version")
    if major != _MAJOR:
        raise UnsupportedContent(
            f"the exported program has the schema version {major}, {_MAJOR} is read",
            remedy="Export the model again with torch 2.8 or newer.",
        )


def _ranges(document: js.Table) -> dict[str, tuple[int, int]]:
    """The sizes that each symbol may have; what expressions of several may be follows from those."""
    ranges: dict[str, tuple[int, int]] = {}
    for name, bounds in js.table(document.get("range_constraints"), "range_constraints").items():
        size, where = parse(name), f"the range of {name}"
        sides = js.table(bounds, where)
        least, most = _bound(sides.get("min_val"), where, 0), _bound(sides.get("max_val"), where, LARGEST)
        if least > most:
            raise js.fault(where, "is empty")
        if isinstance(size, Symbol):
            ranges[size.name] = (max(least, 0), most)
    return ranges


def _bound(value: Any, where: str, otherwise: int) -> int:
    """A number; newer files have null where there is no bound, older ones a text like `int_oo`."""
    if value is None or isinstance(value, str):
        return otherwise
    number = js.number(value, where)
    return int(number) if abs(number) <= LARGEST else otherwise


class _Graphs:
    """Reads a graph and those within it."""

    def __init__(self) -> None:
        self._reader = Reader()
        self.hints = self._reader.hints

    def graph(self, value: js.Table, depth: int) -> ExportedGraph:
        if depth > _DEEPEST:
            raise UnsupportedContent("the program has graphs nested more than 8 deep", remedy="Decompose it first.")
        read = self._reader
        for table in ("sym_bool_values", "sym_float_values"):
            for name, symbol in js.table(value.get(table, {}), table).items():
                read.symbol(symbol, texts.identifier(name, table))
        tensors = js.table(value.get("tensor_values"), "tensor_values")
        symbols = js.table(value.get("sym_int_values"), "sym_int_values")
        if js.table(value.get("custom_obj_values", {}), "custom_obj_values"):
            raise _custom_objects(sorted(value["custom_obj_values"]))
        graph = ExportedGraph(
            inputs=tuple(self._argument(one, "an input", depth) for one in js.items(value.get("inputs"), "inputs")),
            outputs=tuple(self._argument(one, "an output", depth) for one in js.items(value.get("outputs"), "outputs")),
            nodes=tuple(self._node(one, depth) for one in js.items(value.get("nodes"), "nodes")),
            tensors={texts.identifier(name, name): read.tensor(meta, name) for name, meta in tensors.items()},
            symbols={texts.identifier(name, name): read.symbol(one, name) for name, one in symbols.items()},
        )
        _check_order(graph)
        return graph

    def _argument(self, value: Any, where: str, depth: int) -> Any:
        found = self._reader.argument(value, where, lambda inner, place: self._subgraph(inner, place, depth + 1))
        for reference in references(found):
            texts.identifier(reference.name, where)
        return found

    def _subgraph(self, value: Any, where: str, depth: int) -> Subgraph:
        fields = js.table(value, where)
        name = texts.identifier(fields.get("name"), where)
        return Subgraph(name, self.graph(js.table(fields.get("graph"), where), depth))

    def _node(self, value: Any, depth: int) -> Operator:
        fields = js.table(value, "a node")
        target = texts.target(fields.get("target"), "a node")
        js.table(fields.get("metadata"), target)
        arguments = tuple(
            self._named(one, target, depth) for one in js.items(fields.get("inputs"), f"inputs of {target}")
        )
        outputs = [self._argument(one, target, depth) for one in js.items(fields.get("outputs"), target)]
        flat = tuple(_flat(outputs, target))
        given = fields.get("name")
        named = next((one.name for one in flat if one is not None), "")
        return Operator(target, arguments, flat, texts.identifier(given, target) if given else named)

    def _named(self, value: Any, where: str, depth: int) -> NamedArgument:
        fields = js.table(value, where)
        name = js.text(fields.get("name"), where)
        if name:
            texts.identifier(name, where)
        return NamedArgument(name, self._argument(fields.get("arg"), f"an argument of {where}", depth))


def _flat(outputs: list[Any], where: str) -> list[TensorRef | SymbolRef | None]:
    found: list[TensorRef | SymbolRef | None] = []
    for output in outputs:
        if isinstance(output, list):
            found.extend(_flat(output, where))
        elif output is None or isinstance(output, (TensorRef, SymbolRef)):
            found.append(output)
        elif isinstance(output, (bool, int, float)):
            found.append(None)  # a number that is the same for all inputs
        else:
            raise js.fault(where, "puts out something that is neither a tensor nor a number")
    return found


def _custom_objects(names: list[str]) -> UnsupportedContent:
    return UnsupportedContent(
        f"the program uses custom objects: {', '.join(names)[:1000]}",
        remedy="Export the model without TorchScript classes and other opaque objects.",
        names=names[:12],
    )


def _check_order(graph: ExportedGraph) -> None:
    """Each name is given once, and before it is read."""
    known = {one.name for one in references(graph.inputs)}
    for node in graph.nodes:
        _check_known([argument.value for argument in node.arguments], known)
        for output in node.outputs:
            if output is None:
                continue
            if output.name in known:
                raise MalformedFile(f"the exported program is damaged: the name {output.name} is given twice")
            if isinstance(output, TensorRef) and output.name not in graph.tensors:
                raise MalformedFile(f"the exported program is damaged: nothing is said of the tensor {output.name}")
            known.add(output.name)
    _check_known(list(graph.outputs), known)


def _check_known(value: Any, known: set[str]) -> None:
    for reference in references(value):
        if reference.name not in known:
            raise MalformedFile(f"the exported program is damaged: {reference.name} is read before it is computed")


def _input(value: Any) -> InputSpec:
    kind, inner = js.union(value, "an input specification")
    fields = js.table(inner, kind)
    if kind == "user_input":
        return InputSpec("user", Reader().argument(fields.get("arg"), kind, _no_graph))
    if kind == "constant_input":
        return InputSpec("number", None, texts.identifier(fields.get("name"), kind))
    if kind in _TARGETS:
        name = texts.identifier(js.table(fields.get("arg"), kind).get("name"), kind)
        return InputSpec(_KINDS[kind], TensorRef(name), texts.path(fields.get(_TARGETS[kind]), kind))  # type: ignore[arg-type]  # the table has those kinds
    if kind == "custom_obj":
        raise _custom_objects([str(fields.get("custom_obj_name"))])
    raise UnsupportedContent(f"the program has an input of the kind {kind[:100]!r}", remedy="Export the model again.")


def _output(value: Any) -> OutputSpec:
    kind, inner = js.union(value, "an output specification")
    fields = js.table(inner, kind)
    if kind == "user_output":
        return OutputSpec("user", Reader().argument(fields.get("arg"), kind, _no_graph))
    name = TensorRef(texts.identifier(js.table(fields.get("arg"), kind).get("name"), kind))
    if kind in ("buffer_mutation", "parameter_mutation"):
        target = texts.path(fields.get("buffer_name", fields.get("parameter_name")), kind)
        return OutputSpec("buffer_mutation", name, target)
    if kind == "user_input_mutation":
        return OutputSpec("input_mutation", name, texts.identifier(fields.get("user_input_name"), kind))
    return OutputSpec("other", name)


def _no_graph(value: Any, where: str) -> Any:
    raise js.fault(where, "is a graph")


def _check_signature(
    graph: ExportedGraph,
    inputs: tuple[InputSpec, ...],
    outputs: tuple[OutputSpec, ...],
    payloads: Mapping[str, Payload],
) -> None:
    """Graph and signature tell the same; every parameter is in the archive with the shape that the graph gives it."""
    if len(inputs) != len(graph.inputs) or len(outputs) != len(graph.outputs):
        raise MalformedFile("the exported program is damaged: graph and signature have different numbers of ports")
    for spec, found in zip(inputs, graph.inputs, strict=True):
        if isinstance(spec.value, TensorRef):
            if found != spec.value or spec.value.name not in graph.tensors:
                raise MalformedFile(f"the exported program is damaged: its signature has no input {spec.value.name}")
            _check_stored(spec, graph, payloads)
    for output, found in zip(outputs, graph.outputs, strict=True):
        if isinstance(output.value, TensorRef) and found != output.value:
            raise MalformedFile(f"the exported program is damaged: its signature has no output {output.value.name}")


def _check_stored(spec: InputSpec, graph: ExportedGraph, payloads: Mapping[str, Payload]) -> None:
    if spec.kind == "user":
        return
    payload, meta = payloads.get(spec.target), graph.tensors[spec.value.name]
    if payload is None:
        raise MalformedFile(f"the exported program is damaged: {spec.target} is not in the archive")
    if payload.tensor.shape != meta.sizes or payload.tensor.dtype != meta.dtype:
        raise MalformedFile(
            f"the exported program is damaged: {spec.target} is {payload.tensor.shape} of {payload.tensor.dtype} "
            f"in the archive, {meta.sizes} of {meta.dtype} in the graph"
        )


def _called(entries: list[Any]) -> frozenset[str]:
    """Values that the calls of kept submodules refer to; the first entry is the program itself."""
    held: set[str] = set()
    for entry in entries:
        fields = js.table(entry, "module_call_graph")
        js.text(fields.get("fqn"), "module_call_graph")
        signature = fields.get("signature")
        if signature is None:
            continue
        call = js.table(signature, "module_call_graph")
        for tree in ("in_spec", "out_spec"):
            texts.check_tree(call.get(tree), tree)
        for name in js.items(call.get("forward_arg_names") or [], "forward_arg_names"):
            texts.identifier(name, "forward_arg_names")
        for side in ("inputs", "outputs"):
            for one in js.items(call.get(side), side):
                if js.union(one, side)[0] in ("as_tensor", "as_sym_int"):
                    held.update(ref.name for ref in references(Reader().argument(one, side, _no_graph)))
    return frozenset(held)
