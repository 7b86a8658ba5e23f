"""Reading .pt2 archives: what torch writes is read as it is, and hostile archives end in a named error."""

import io
import pickle
import random
import sys
import zipfile
from dataclasses import replace

import pytest
import torch
from torch import nn

from app.engine.formats.limits import Limits
from app.engine.formats.pt2 import count
from app.errors import AppError, MalformedFile, TooLarge, UnsupportedContent
from tests.engine.formats.pt2.exporting import (
    MODELS,
    ConvNet,
    pickle_tensors,
    read,
    rewrite_document,
    rewrite_records,
    save,
)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "net.pt2"
    save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), (torch.randn(2, 3, 8, 8),), path)
    return path


@pytest.mark.parametrize("decomposed", [False, True], ids=["as written", "decomposed"])
@pytest.mark.parametrize("model", MODELS)
def test_weights_and_signature_are_those_that_torch_saved(tmp_path, model, decomposed):
    build, args, kwargs, shapes = MODELS[model]
    path = tmp_path / "net.pt2"
    program = save(build(), args(), path, kwargs=kwargs(), shapes=shapes, decomposed=decomposed)

    file = read(path)

    assert file.functional == decomposed
    for name, tensor in {**program.state_dict, **program.constants}.items():
        assert torch.equal(file.stored[name].read(), tensor)
        assert file.stored[name].requires_grad == tensor.requires_grad
    targets = [spec.target for spec in program.graph_signature.input_specs if spec.target]
    assert [spec.target for spec in file.inputs if spec.target and spec.kind != "number"] == targets
    assert len(file.outputs) == len(program.graph_signature.output_specs)


@pytest.mark.parametrize("model", ["convnet", "nested"])
def test_weights_in_the_layout_of_an_older_version_are_those_that_torch_saved(tmp_path, model):
    build, args, kwargs, shapes = MODELS[model]
    path = tmp_path / "net.pt2"
    program = save(build(), args(), path, kwargs=kwargs(), shapes=shapes)
    pickle_tensors(path, program)

    file = read(path)

    for name, tensor in {**program.state_dict, **program.constants}.items():
        assert torch.equal(file.stored[name].read(), tensor)
        assert file.stored[name].requires_grad == tensor.requires_grad
        assert file.payloads[name].parameter == isinstance(tensor, nn.Parameter)


def test_weights_in_the_layout_of_an_older_version_that_would_run_code_are_refused_by_name(archive):
    held = io.BytesIO()
    torch.save({"0.weight": _Hostile()}, held)

    def change(records):
        for name in [name for name in records if "/data/weights/" in name]:
            del records[name]
        records["net/data/weights/model.pt"] = held.getvalue()

    rewrite_records(archive, change)

    with pytest.raises(UnsupportedContent, match=r"sys\.exit"):
        read(archive)


def test_a_program_is_counted(tmp_path):
    path = tmp_path / "net.pt2"
    module = ConvNet()
    save(module, (torch.randn(1, 3, 8, 8),), path)

    census = count(read(path))

    assert census.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert (census.convolutions, census.batch_norms, census.dtype) == (2, 1, torch.float32)


def test_tied_weights_are_one_storage(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    path = tmp_path / "net.pt2"
    save(module, (torch.randn(2, 4),), path)

    file = read(path)

    storages = {id(stored.storage) for name, stored in file.stored.items() if name.endswith("weight")}
    assert len(storages) == 1


# --- what is refused ------------------------------------------------------------------------------------------------


def _add(name, content=b"x"):
    return lambda records: records.update({f"net/{name}": content})


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/a.so",
        "data/aotinductor/model/a.cubin",
        "data/executorch/program.pte",
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/weights/a.so",
        "extra/a.so",
        "xl_model_weights/w",
        "code/a.py",
    ],
)
def test_parts_that_hold_code_or_foreign_formats_are_refused_by_name(archive, name):
    rewrite_records(archive, _add(name))

    with pytest.raises(UnsupportedContent, match=name.replace("/", ".")):
        read(archive)


def test_a_second_program_is_refused(archive):
    rewrite_records(archive, lambda records: records.update({"net/models/b.json": records["net/models/model.json"]}))

    with pytest.raises(UnsupportedContent, match="2 programs"):
        read(archive)


def test_the_single_file_layout_of_older_versions_is_told_to_be_saved_again(tmp_path):
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("version", "2.4")

    with pytest.raises(UnsupportedContent, match=r"layout of torch before 2\.8"):
        read(path)


def test_pickled_weights_are_refused_by_name(archive):
    def change(records):
        name = "net/data/weights/model_weights_config.json"
        records[name] = records[name].replace(b'"use_pickle": false', b'"use_pickle": true', 1)

    rewrite_records(archive, change)

    with pytest.raises(UnsupportedContent, match=r"pickled objects: 0\.weight"):
        read(archive)


class _Hostile:
    def __reduce__(self):
        return (sys.exit, ("run",))


def test_example_inputs_that_would_run_code_are_refused_by_name(archive):
    held = io.BytesIO()
    torch.save((_Hostile(),), held)
    rewrite_records(archive, lambda records: records.update({"net/data/sample_inputs/model.pt": held.getvalue()}))

    with pytest.raises(UnsupportedContent, match=r"sys\.exit"):
        read(archive)


def test_example_inputs_that_are_a_bare_pickle_are_refused(archive):
    bare = pickle.dumps(_Hostile())
    rewrite_records(archive, lambda records: records.update({"net/data/sample_inputs/model.pt": bare}))

    with pytest.raises(MalformedFile):
        read(archive)


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.hub.load", "builtins.eval", "_operator.attrgetter", "torch.ops.aten.__class__.mro"],
)
def test_a_node_that_calls_python_is_refused_by_name(archive, target):
    rewrite_document(archive, lambda doc: doc["graph_module"]["graph"]["nodes"][0].update(target=target))

    with pytest.raises(UnsupportedContent, match=target):
        read(archive)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "(lambda: 1)()",
        "open('/etc/passwd')",
        "Symbol('s0', positive=__import__('os'))",
        "exec('1')",
        "[x for x in ()]",
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 70000 + "1",
        "1" * 4000,
    ],
)
def test_a_size_that_is_python_is_refused(archive, expression):
    def change(document):
        value = document["graph_module"]["graph"]["tensor_values"]["relu"]
        value["sizes"][0] = {"as_expr": {"expr_str": expression, "hint": None}}

    rewrite_document(archive, change)

    with pytest.raises(UnsupportedContent, match="not an expression"):
        read(archive)


@pytest.mark.parametrize(
    "guard", ["__import__('os').system('true')", "L['x'].__class__", "x" * 20000, "L;L", "torch.load('x')"]
)
def test_a_guard_that_is_no_condition_on_sizes_is_refused(archive, guard):
    rewrite_document(archive, lambda document: document.update(guards_code=[guard]))

    with pytest.raises(UnsupportedContent, match="not a condition on sizes"):
        read(archive)


@pytest.mark.parametrize(
    "guard",
    [
        "L['input'].size()[1] % 2 == 0 and L['input'].size()[0] >= 2",
        "max(1, (-2) + L['input'].size()[3]) < 3*min(3, L['input'].size()[2])",
        "torch.sym_max(1, L['input'].size()[3] // 2)*torch.sym_min(4, math.ceil(L['input'].size()[2] / 2)) != 1",
        "(1 if L['input'].size()[0] > 2 else 2) == 2 or not (abs(L['input'].size()[1]) == 3)",
    ],
)
def test_a_guard_on_sizes_is_read(guard, archive):
    rewrite_document(archive, lambda document: document.update(guards_code=[guard]))

    assert read(archive).document["guards_code"] == [guard]


def test_a_name_that_would_become_source_text_is_refused(archive):
    def change(document):
        text = "relu): import os  #"
        graph = document["graph_module"]["graph"]
        graph["tensor_values"][text] = graph["tensor_values"].pop("relu")
        graph["nodes"][-1]["outputs"] = graph["outputs"] = [{"as_tensor": {"name": text}}]

    rewrite_document(archive, change)

    with pytest.raises(MalformedFile, match="is not a name"):
        read(archive)


def test_a_tree_with_an_enum_that_would_be_imported_is_refused(archive):
    def change(document):
        call = document["graph_module"]["module_call_graph"][0]["signature"]
        inner = '{"type": "builtins.dict", "context": " [{\\"__enum__\\": true, \\"fqn\\": \\"os:x\\"}]", '
        call["out_spec"] = f'[1, {inner} "children_spec": []}}]'

    rewrite_document(archive, change)

    with pytest.raises(UnsupportedContent, match="the enum 'os:x'"):
        read(archive)


def test_a_keyword_that_would_become_source_text_is_refused(archive):
    def change(document):
        call = document["graph_module"]["module_call_graph"][0]["signature"]
        call["in_spec"] = call["in_spec"].replace('"context": "[]"', '"context": "[\\"a=__import__\\"]"')
        assert "__import__" in call["in_spec"]

    rewrite_document(archive, change)

    with pytest.raises(MalformedFile, match="is not a name"):
        read(archive)


# --- what is damaged ------------------------------------------------------------------------------------------------


def _meta(document, name="p_0_weight"):
    return document["graph_module"]["graph"]["tensor_values"][name]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["graph_module"]["graph"]["nodes"].reverse(),
        lambda d: d["graph_module"]["graph"]["nodes"].append(d["graph_module"]["graph"]["nodes"][0]),
        lambda d: d["graph_module"]["graph"]["inputs"].pop(),
        lambda d: d["graph_module"]["graph"]["tensor_values"].pop("relu"),
        lambda d: _meta(d)["sizes"].pop(),
        lambda d: _meta(d)["sizes"].__setitem__(0, {"as_int": 5}),
        lambda d: _meta(d)["sizes"].__setitem__(0, {"as_int": 5, "as_bool": True}),
        lambda d: _meta(d)["sizes"].__setitem__(0, {"as_int": 1 << 70}),
        lambda d: _meta(d).update(dtype=5),
        lambda d: d["graph_module"]["signature"]["input_specs"].reverse(),
        lambda d: d["graph_module"].update(graph=[]),
        lambda d: d.pop("schema_version"),
    ],
)
def test_a_program_that_contradicts_itself_is_damaged(archive, change):
    rewrite_document(archive, change)

    with pytest.raises(MalformedFile):
        read(archive)


def test_a_schema_of_another_generation_is_refused(archive):
    rewrite_document(archive, lambda document: document["schema_version"].update(major=9))

    with pytest.raises(UnsupportedContent, match="schema version 9"):
        read(archive)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sizes", [{"as_int": 1 << 40}, {"as_int": 1 << 20}, {"as_int": 3}, {"as_int": 3}]),
        ("sizes", [{"as_int": -4}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}]),
        ("storage_offset", {"as_int": 8}),
        ("storage_offset", {"as_int": -1}),
        ("strides", [{"as_int": 1 << 60}] * 4),
        ("strides", [{"as_int": 1}]),
        ("dtype", 8),
    ],
)
def test_a_weight_that_is_not_where_it_says_is_damaged(archive, field, value):
    import json

    def change(records):
        name = "net/data/weights/model_weights_config.json"
        config = json.loads(records[name])
        config["config"]["0.weight"]["tensor_meta"][field] = value
        records[name] = json.dumps(config).encode()

    rewrite_records(archive, change)

    with pytest.raises(MalformedFile):
        read(archive)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe", b"1" * 5000, b"{"])
def test_json_that_is_none_ends_in_a_named_error(archive, text):
    rewrite_records(archive, lambda records: records.update({"net/models/model.json": text}))

    with pytest.raises((MalformedFile, TooLarge)):
        read(archive)


def test_tensors_above_the_limit_are_too_large(archive):
    with pytest.raises(TooLarge, match="tensor data"):
        read(archive, replace(Limits(), max_tensor_bytes=100))


@pytest.mark.parametrize("name", ["net/../x", "net//x", "net/extra/../x"])
def test_a_record_with_a_name_that_leads_elsewhere_is_damaged(archive, name):
    rewrite_records(archive, lambda records: records.update({name: b""}))

    with pytest.raises(MalformedFile):
        read(archive)


def test_a_mutated_archive_ends_in_success_or_an_app_error(archive):
    content, source, refused = archive.read_bytes(), random.Random(5), 0
    for _ in range(300):
        mutant = bytearray(content)
        if source.random() < 0.2:
            del mutant[source.randrange(len(mutant)) :]
        for _ in range(source.choice([1, 2, 5])):
            mutant[source.randrange(len(mutant))] = source.randrange(256)
        archive.write_bytes(mutant)
        try:
            for stored in read(archive).stored.values():
                stored.read()
        except AppError:
            refused += 1
    assert refused > 100


def test_a_mutated_program_in_a_sound_archive_ends_in_success_or_an_app_error(archive):
    with zipfile.ZipFile(archive) as opened:
        text = opened.read("net/models/model.json")
    source, refused = random.Random(6), 0
    for _ in range(150):
        mutant = bytearray(text)
        for _ in range(source.choice([1, 1, 3])):
            mutant[source.randrange(len(mutant))] = source.choice(b'0123456789{}[]",:abcdefxyz._-')
        rewrite_records(archive, lambda records, text=bytes(mutant): records.update({"net/models/model.json": text}))
        try:
            read(archive)
        except AppError:
            refused += 1
    assert refused > 50


def test_reading_imports_nothing(archive):
    read(archive)
    before = set(sys.modules)

    read(archive)

    assert set(sys.modules) == before
