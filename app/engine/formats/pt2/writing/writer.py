"""Writes .pt2 archives: the program with other operators, everything else of the file as it was read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.pt2.archive import CONSTANTS, MODELS, SERIALIZATION_ID, WEIGHTS
from app.engine.formats.pt2.json_text import Table
from app.engine.formats.pt2.payloads import config_name
from app.engine.formats.pt2.pt2_file import Pt2File
from app.engine.formats.pt2.writing.emission import Emitter, without_affine
from app.engine.formats.pt2.writing.liveness import needed, passed_through
from app.engine.formats.pt2.writing.pickling import pickled_records
from app.engine.formats.pt2.writing.plan import Names, Step, steps_of
from app.engine.formats.pt2.writing.weights import Made, Shelf, signature_of, stored_bytes, table_of
from app.engine.formats.zip_writer import ZipWriter
from app.engine.ir.exported import references
from app.engine.ir.graph import Graph
from app.engine.ir.program import Program

# Arguments in which a tensor is named directly.
_NAMED: Final = frozenset({"as_tensor", "as_tensors", "as_optional_tensors", "as_optional_tensor", "as_nested_tensors"})

Record = tuple[int, Iterable[bytes | memoryview]]  # size and content


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """The program's JSON, the tables of contents, and the new weights by record."""

    document: Table
    tables: Mapping[str, Mapping[str, Table]]
    weights: Mapping[str, Made]  # by record, or by path where all are in one
    gone: frozenset[str]


def write_pt2(file: Pt2File, program: Program, graph: Graph, target: Path) -> None:
    """`file` with `graph` in the place of `program.graph`; the same bytes for the same graph.

    Nodes of the program's graph stay as they are in the file, new ones are written in its style. `target` must not be
    the file that was read: its weights are still in there.
    """
    rewritten = _rewritten(file, program, graph)
    with target.open("wb") as stream, pickled_records(file, rewritten.weights, rewritten.gone, target) as pickled:
        archive = ZipWriter(stream)
        for name, (size, content) in _records(file, rewritten, pickled):
            archive.add(f"{file.archive.root}/{name}", size, content)
        identity = archive.content_id().encode()
        archive.add(f"{file.archive.root}/{SERIALIZATION_ID}", len(identity), (identity,))
        archive.close()


def _rewritten(file: Pt2File, program: Program, graph: Graph) -> _Rewritten:
    module = file.document["graph_module"]
    written = module["graph"]
    names = Names(dict(program.names), _every_name(file))
    steps = steps_of(file, program, graph, names)
    passed: Mapping[str, str] = {}
    if [id(node) for node in graph.nodes] != [id(node) for node in program.graph.nodes]:
        owners = {node.owner for node in program.graph.nodes} | {one.path for one in program.skipped}
        passed = passed_through(file, steps, owners)
        steps = needed(file, [_renamed_step(step, passed) for step in steps if not _is_passed(step, passed)])
    before = {ref.name for operator in file.graph.nodes for ref in operator.reads()} | _outputs(file)
    after = {name for step in steps for name in step.reads} | _outputs(file) | _stay(steps)
    tensors = dict(written["tensor_values"])
    shelf = Shelf(file, file.payloads, names, tensors, set(after))
    nodes = _nodes(file, steps, Emitter(file.functional, tensors, names, shelf.place), passed)
    signature = signature_of(file, module, shelf.made, before, shelf.reads)
    inner = written | {"nodes": nodes, "inputs": signature.inputs}
    inner |= _described(inner, tensors, written, after | _listed(nodes))
    specs = module["signature"] | {"input_specs": signature.specs}
    document = file.document | {"graph_module": module | {"graph": inner, "signature": specs}}
    folders = [folder for folder in (WEIGHTS, CONSTANTS) if folder not in file.pickled]
    tables = {folder: table_of(file.payloads, folder, shelf.made, signature.gone) for folder in folders}
    table = tables.get(WEIGHTS, {})
    weights = {str(table[one.path]["path_name"]) if table else one.path: one for one in shelf.made}
    return _Rewritten(document, tables, weights, signature.gone)


# --- the program ------------------------------------------------------------------------------------------------------


def _every_name(file: Pt2File) -> set[str]:
    graph = file.document["graph_module"]["graph"]
    tables = ("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values")
    names = {name for table in tables for name in graph.get(table, {})}
    return names | {operator.name for operator in file.graph.nodes}


def _outputs(file: Pt2File) -> set[str]:
    return {ref.name for ref in references(list(file.graph.outputs))}


def _stay(steps: Iterable[Step]) -> set[str]:
    return {name for step in steps for name in step.writes}


def _is_passed(step: Step, passed: Mapping[str, str]) -> bool:
    return step.node is None and step.operator is not None and step.operator.owner in passed


def _renamed_step(step: Step, passed: Mapping[str, str]) -> Step:
    return Step(step.operator, step.node, tuple(passed.get(name, name) for name in step.reads), step.writes)


def _nodes(file: Pt2File, steps: Iterable[Step], emitter: Emitter, passed: Mapping[str, str]) -> list[Table]:
    position = {operator.owner: index for index, operator in enumerate(file.graph.nodes)}
    written = file.document["graph_module"]["graph"]["nodes"]
    nodes: list[Table] = []
    for step in steps:
        if step.node is None:
            assert step.operator is not None
            nodes.append(_renamed(written[position[step.operator.owner]], passed))
        elif step.operator is not None:
            reduced = without_affine(written[position[step.operator.owner]], step.writes[0])
            emitter.tensors.setdefault(step.writes[0], emitter.tensors[step.operator.owner])
            nodes.append(_renamed(reduced, passed))
        else:
            like = written[position[step.node.owner]]
            _describe(step, emitter, file)
            nodes.extend(emitter.nodes(step.node, step.reads, step.writes[0], like["metadata"]))
    return nodes


def _describe(step: Step, emitter: Emitter, file: Pt2File) -> None:
    """A value that the file has no name for is like what is computed of it: only convolutions change a shape."""
    assert step.node is not None
    if step.writes[0] not in emitter.tensors:
        emitter.tensors[step.writes[0]] = emitter.tensors[step.reads[0]]


def _renamed(node: Table, passed: Mapping[str, str]) -> Table:
    if not passed:
        return node
    inputs = [one | {"arg": _renamed_argument(one["arg"], passed)} for one in node["inputs"]]
    return node | {"inputs": inputs}


def _renamed_argument(argument: Any, passed: Mapping[str, str]) -> Any:
    if isinstance(argument, list):
        return [_renamed_argument(part, passed) for part in argument]
    if not isinstance(argument, dict):
        return argument
    if set(argument) == {"name"}:
        return {"name": passed.get(argument["name"], argument["name"])}
    if len(argument) == 1 and next(iter(argument)) in _NAMED | {"as_string_to_argument"}:
        return {key: _renamed_argument(value, passed) for key, value in argument.items()}
    return argument


def _listed(nodes: Iterable[Table]) -> set[str]:
    """The names of all tensors and numbers that nodes give."""
    found: set[str] = set()
    stack: list[Any] = [node["outputs"] for node in nodes]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            found |= {part[key] for key in ("name", "as_name") if isinstance(part.get(key), str)}
            stack.extend(part.values())
    return found


def _described(graph: Table, tensors: Mapping[str, Table], before: Table, names: set[str]) -> Table:
    """What is said of tensors and numbers, without those that are gone."""
    inputs = {ref["as_tensor"]["name"] for ref in graph["inputs"] if "as_tensor" in ref}
    numbers = {port["as_sym_int"]["as_name"] for port in graph["inputs"] if "as_name" in port.get("as_sym_int", {})}
    known = names | inputs | numbers
    tables = ("sym_int_values", "sym_bool_values", "sym_float_values")
    described = {table: {k: v for k, v in before[table].items() if k in known} for table in tables if table in before}
    return described | {"tensor_values": {name: meta for name, meta in tensors.items() if name in known}}


# --- the archive ---------------------------------------------------------------------------------------------------


def _records(file: Pt2File, rewritten: _Rewritten, pickled: Mapping[str, Path]) -> Iterator[tuple[str, Record]]:
    """The records in the order of the file; new weights stand before their table of contents."""
    texts = {f"{MODELS}{file.archive.model}.json": rewritten.document}
    for folder, table in rewritten.tables.items():
        texts[config_name(folder, file.archive.model)] = {"config": table}
    used = {f"{folder}{entry['path_name']}" for folder, table in rewritten.tables.items() for entry in table.values()}
    fresh = {f"{WEIGHTS}{record}": made for record, made in rewritten.weights.items()}
    for name, record in file.archive.records.items():
        if name == config_name(WEIGHTS, file.archive.model):
            yield from ((new, _tensor(made)) for new, made in fresh.items() if new not in file.archive.records)
        if name in texts:
            content = json.dumps(texts[name], allow_nan=False).encode()
            yield name, (len(content), (content,))
        elif name in pickled:
            whole = MappedFile(pickled[name])
            yield name, (whole.size, whole.chunks(0, whole.size))
        elif name in fresh:
            yield name, _tensor(fresh[name])
        elif name != SERIALIZATION_ID and (name in used or not name.startswith(tuple(rewritten.tables))):
            yield name, (record.nbytes, record.chunks())


def _tensor(made: Made) -> Record:
    content = stored_bytes(made.tensor)
    return content.nbytes, (content,)
