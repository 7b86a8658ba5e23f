"""Programs that are no longer what torch wrote: followed and rewritten without an error that has no name."""

import copy
import random

import pytest

from app.engine.formats.pt2 import operators_of, write_pt2
from app.engine.forward.aten import follow, ports
from app.engine.fuse.programs import plan_program
from app.errors import AppError
from tests.engine.formats.pt2.exporting import MODELS, read, rewrite_document, save, tensors_in

_NUMBERS = (0, 1, -1, 2, 7, 1 << 20, 1 << 40, -(1 << 62))


def leaves(part, path=()):
    """Every plain value of a document with the way to it, but for what is only for people."""
    if isinstance(part, dict):
        for key, inner in part.items():
            if key != "metadata":
                yield from leaves(inner, (*path, key))
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from leaves(inner, (*path, index))
    else:
        yield path, part


def replaced(value, names, source):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return source.choice((*_NUMBERS, value + 1, 2 * value))
    if isinstance(value, float):
        return source.choice([0.0, -1.0, 1e308, "NaN", "Infinity"])
    return (
        source.choice([*names, "Symbol('s0')", "same", "x"]) if isinstance(value, str) else source.choice([0, {}, []])
    )


def mutate(document, source):
    graph = document["graph_module"]["graph"]
    names = [*graph["tensor_values"], *(node["target"] for node in graph["nodes"])]
    places = list(leaves(document))
    for _ in range(source.choice([1, 1, 2, 4])):
        path, value = source.choice(places)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = replaced(value, names, source)


@pytest.mark.parametrize("model", ["convnet, any size", "up and down", "in place"])
@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
def test_a_mutated_program_is_refused_by_name_or_followed_and_written(tmp_path, model, decomposed):
    build, args, kwargs, shapes = MODELS[model]
    path, given, source = tmp_path / "net.pt2", args(), random.Random(3)
    save(build(), given, path, kwargs=kwargs(), shapes=shapes, decomposed=decomposed)
    content, followed = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(content)
        rewrite_document(path, lambda document: mutate(document, source))
        try:
            file = read(path)
            names = [port.name for port in ports(file)]
            tensors = tensors_in(given)
            if len(names) == len(tensors):
                sizes = [tuple(tensor.shape) for tensor in tensors]
                program = follow(file, dict(zip(names, sizes, strict=True)))
                write_pt2(file, program, plan_program(program, operators_of).graph, tmp_path / "out.pt2")
                read(tmp_path / "out.pt2")
                followed += 1
        except AppError:
            continue
    assert followed > 10


def test_a_program_that_doubles_a_constant_again_and_again_costs_no_more_than_its_operators(tmp_path):
    path = tmp_path / "net.pt2"
    build, args, kwargs, shapes = MODELS["nested"]
    save(build(), args(), path, kwargs=kwargs(), shapes=shapes)

    def change(document):
        graph = document["graph_module"]["graph"]
        node = next(node for node in graph["nodes"] if node["target"].endswith("sub.Tensor"))
        constant = node["inputs"][1]["arg"]["as_tensor"]["name"]
        for number in range(60):
            name = f"doubled_{number}"
            fresh = copy.deepcopy(node)
            fresh["target"] = "torch.ops.aten.add.Tensor"
            fresh["inputs"] = [
                {"name": part, "arg": {"as_tensor": {"name": constant}}, "kind": 1} for part in ("self", "other")
            ]
            fresh["outputs"] = [{"as_tensor": {"name": name}}]
            graph["tensor_values"][name] = graph["tensor_values"][constant]
            graph["nodes"].insert(number, fresh)
            constant = name
        node["inputs"][1]["arg"]["as_tensor"]["name"] = constant

    rewrite_document(path, change)
    file = read(path)
    given = tensors_in((args(), kwargs()))
    program = follow(file, {port.name: tuple(one.shape) for port, one in zip(ports(file), given, strict=True)})

    consts = [const for node in program.graph.nodes for const in node.consts() if const.compute is not None]
    assert max(len(const.sources) for const in consts) == 1
    assert all(const.value(None).isfinite().all() for const in consts)


def test_a_literal_that_would_fill_the_memory_is_skipped(tmp_path):
    path = tmp_path / "net.pt2"
    build, args, kwargs, shapes = MODELS["nested"]
    save(build(), args(), path, kwargs=kwargs(), shapes=shapes)

    def change(document):
        node = next(one for one in document["graph_module"]["graph"]["nodes"] if "zeros" in one["target"])
        node["inputs"][0]["arg"] = {"as_ints": [1 << 40]}

    rewrite_document(path, change)
    file = read(path)
    given = tensors_in((args(), kwargs()))
    program = follow(file, {port.name: tuple(one.shape) for port, one in zip(ports(file), given, strict=True)})

    assert [one.code for one in program.skipped] == ["too-large"]
