"""Files that hold a graph: ONNX models, torch.export programs, TorchScript and packages."""

import copy
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import calls
from tests.hostile.corpus.case import Recipe

Edit = Callable[[Any], None]


# ONNX


def _onnx() -> onnx.ModelProto:
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 3, 3, 3), [0.1] * 108)
    vectors = [helper.make_tensor(name, TensorProto.FLOAT, (4,), [1.0] * 4) for name in ("s", "b", "m", "v")]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"], name="norm"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 8, 8)), ("y", (1, 4, 6, 6)))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight, *vectors])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _edited(edit: Edit) -> bytes:
    model = _onnx()
    edit(model)
    return model.SerializeToString()


def _weight(model: Any) -> Any:
    return model.graph.initializer[0]


def _external(model: Any, **said: str) -> None:
    tensor = _weight(model)
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)


def _set(target: Callable[[Any], Any], **fields: Any) -> Edit:
    def edit(model: Any) -> None:
        for key, value in fields.items():
            part = getattr(target(model), key)
            if hasattr(part, "extend"):
                del part[:]
                part.extend(value)
            else:
                setattr(target(model), key, value)

    return edit


def _node(index: int) -> Callable[[Any], Any]:
    return lambda model: model.graph.node[index]


def _nested(depth: int) -> Edit:
    """Graphs within the branches of If, each in the one before."""

    def edit(model: Any) -> None:
        graph = model.graph
        for _ in range(depth):
            node = graph.node.add(op_type="If", input=["c"], output=["z"])
            attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
            graph = attribute.g

    return edit


def _functions(times: int, cyclic: bool) -> Edit:
    def edit(model: Any) -> None:
        model.opset_import.add(domain="d", version=1)
        for number in range(times):
            inner = f"f{(number + 1) % times if cyclic else number + 1}"
            function = model.functions.add(name=f"f{number}", domain="d", input=["a"], output=["b"])
            function.opset_import.add(domain="", version=17)
            function.opset_import.add(domain="d", version=1)
            last = number == times - 1 and not cyclic
            for at in range(2):
                node = function.node.add(op_type="Relu" if last else inner, input=["a" if not at else "t"])
                node.domain = "" if last else "d"
                node.output.append("t" if not at else "b")
        model.graph.node.add(op_type="f0", domain="d", input=["y"], output=["q"])

    return edit


def _attribute(name: str, **value: Any) -> Edit:
    return lambda model: model.graph.node[0].attribute.append(helper.make_attribute(name, **value))


def _many(model: Any) -> None:
    for number in range(400_000):
        model.graph.node.add(op_type="Relu", input=["y"], output=[f"r{number}"])


ONNX: dict[str, Edit] = {
    "a file outside": lambda m: _external(m, location="../../etc/passwd"),
    "an absolute file": lambda m: _external(m, location="/etc/passwd"),
    "a device": lambda m: _external(m, location="/dev/zero", length="432"),
    "a file beside": lambda m: _external(m, location="model.data"),
    "a file twice": lambda m: _external(m, location="a", Location="b"),
    "no file at all": lambda m: _external(m),
    "an offset below zero": lambda m: _external(m, location="a", offset="-1"),
    "dims below zero": _set(_weight, dims=[-4, 3, 3, 3]),
    "dims that overflow": _set(_weight, dims=[1 << 32, 1 << 32, 3, 3]),
    "dims without end": _set(_weight, dims=[1 << 40]),
    "a hundred dims": _set(_weight, dims=[1] * 100),
    "dims of another size": _set(_weight, dims=[4, 3, 3, 2]),
    "a type that is none": _set(_weight, data_type=99),
    "a type that is undefined": _set(_weight, data_type=0),
    "a type of texts": _set(_weight, data_type=TensorProto.STRING),
    "data in two fields": _set(_weight, raw_data=bytes(432)),
    "raw data too short": lambda m: (_weight(m).ClearField("float_data"), setattr(_weight(m), "raw_data", b"x"))[1],
    "no data": lambda m: _weight(m).ClearField("float_data"),
    "a segment": lambda m: setattr(_weight(m).segment, "begin", 1),
    "two initializers of one name": lambda m: m.graph.initializer.add().CopyFrom(_weight(m)),
    "an initializer without name": _set(_weight, name=""),
    "a name that is given twice": _set(_node(1), output=["c"]),
    "a name that is read before": _set(_node(0), input=["y", "w"]),
    "an output of nobody": lambda m: setattr(m.graph.output[0], "name", "nobody"),
    "a graph within a graph": _nested(40),
    "graphs far within graphs": _nested(90),
    "functions that double": _functions(40, False),
    "functions that call themselves": _functions(3, True),
    "a function of itself": _functions(1, True),
    "operators without end": _many,
    "attributes without end": lambda m: [_attribute(f"a{n}", value=1)(m) for n in range(3000)] and None,
    "an attribute of many numbers": _attribute("pads", value=[1] * 1_000_000),
    "an attribute twice": lambda m: (_attribute("group", value=1)(m), _attribute("group", value=3)(m))[1],
    "groups of zero": _attribute("group", value=0),
    "groups below zero": _attribute("group", value=-1),
    "strides of zero": _attribute("strides", value=[0, 0]),
    "pads without end": _attribute("pads", value=[1 << 40] * 4),
    "dilations that overflow": _attribute("dilations", value=[(1 << 63) - 1] * 2),
    "a kernel that is not that": _attribute("kernel_shape", value=[1 << 40, 1]),
    "an old opset": lambda m: setattr(m.opset_import[0], "version", 5),
    "a future opset": lambda m: setattr(m.opset_import[0], "version", 9999),
    "no opset": lambda m: m.ClearField("opset_import"),
    "two opsets": lambda m: m.opset_import.add(domain="", version=16),
    "an input of any size": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1 << 40),
    "an input of negative size": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", -5),
    "an input of a type that is none": lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77),
    "an operator of Python": lambda m: m.graph.node.add(
        op_type="PythonOp", domain="com.microsoft", input=["x"], output=["p"]
    ),
    "a training graph": lambda m: m.training_info.add(),
    "no graph": lambda m: m.ClearField("graph"),
    "a variance below zero": lambda m: m.graph.initializer[4].float_data.__setitem__(0, -5.0),
    "a weight that is no number": lambda m: _weight(m).float_data.__setitem__(0, float("nan")),
    "half a character": lambda m: setattr(m, "producer_name", "x"),
}
# Sound for a reader that leaves alone what it does not know.
_ONNX_SOUND = {
    *("an operator of Python", "half a character", "an attribute of many numbers", "attributes without end"),
    *("an attribute twice", "groups of zero", "groups below zero", "strides of zero", "dilations that overflow"),
    *("a kernel that is not that", "an input of negative size", "an input of a type that is none"),
}
_HEAVY = {"operators without end", "fields without end"}


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value >= 0x80 else bytes([value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _deep(levels: int) -> bytes:
    """Messages within messages: graph, node, attribute, graph ..."""
    content = b""
    for _ in range(levels):
        content = _field(1, _field(5, _field(6, content)))
    return content


WIRES: dict[str, Callable[[], bytes]] = {
    "deep messages": lambda: b"\x08\x08" + _field(7, _deep(5000)),
    "a length behind the end": lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x0f",
    "a length without end": lambda: b"\x08\x08\x3a" + b"\xff" * 20,
    "a field of no number": lambda: b"\x08\x08\x3a\x00\x00\x00",
    "a group": lambda: b"\x08\x08\x3a\x02\x0b\x0c",
    "a wire type that is none": lambda: b"\x08\x08\x3a\x02\x0e\x00",
    "fields without end": lambda: b"\x08\x08" + _field(7, b"\x12\x00" * 4_100_000),
    "two graphs": lambda: b"\x08\x08" + _field(7, b"") * 2,
    "a graph that is a number": lambda: b"\x08\x08\x38\x01",
    "a text that is none": lambda: b"\x08\x08" + _field(2, b"\xff\xfe") + _field(7, b""),
    "cut off": lambda: _onnx().SerializeToString()[:-100],
    "its head alone": lambda: b"\x08\x08\x12\x01x",
}


def _packed(entries: Mapping[str, bytes]) -> bytes:
    return a.archive(dict(entries))


def _with_data(**said: str) -> bytes:
    return _edited(lambda m: _external(m, **said))


_DATA = bytes(432)
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "without its data": lambda: _packed({"m.onnx": _with_data(location="d")}),
    "with data outside": lambda: _packed({"m.onnx": _with_data(location="../d"), "d": _DATA}),
    "with a path": lambda: _packed({"m.onnx": _with_data(location="../d"), "../d": _DATA}),
    "with an absolute path": lambda: _packed({"m.onnx": _with_data(location="/etc/passwd"), "d": _DATA}),
    "with data too short": lambda: _packed({"m.onnx": _with_data(location="d"), "d": _DATA[:-1]}),
    "with an offset behind the end": lambda: _packed({"m.onnx": _with_data(location="d", offset="433"), "d": _DATA}),
    "with an offset that overflows": lambda: _packed(
        {"m.onnx": _with_data(location="d", offset=str((1 << 64) - 1)), "d": _DATA}
    ),
    "with a length that overflows": lambda: _packed(
        {"m.onnx": _with_data(location="d", length=str(1 << 64)), "d": _DATA}
    ),
    "with a length below zero": lambda: _packed({"m.onnx": _with_data(location="d", length="-1"), "d": _DATA}),
    "with a number in hex": lambda: _packed({"m.onnx": _with_data(location="d", offset="0x0"), "d": _DATA}),
    "with a strange key": lambda: _packed({"m.onnx": _with_data(location="d", evil="1"), "d": _DATA}),
    "with the model for data": lambda: _packed({"m.onnx": _with_data(location="m.onnx")}),
    "with more files": lambda: _packed({"m.onnx": _with_data(location="d"), "d": _DATA, "evil.py": b"x"}),
    "with two models": lambda: _packed({"m.onnx": _with_data(location="d"), "n.onnx": _with_data(location="d")}),
    "packed": lambda: a.archive({"m.onnx": _with_data(location="d"), "d": bytes(1 << 20)}, zipfile.ZIP_DEFLATED),
    "with overlapping tensors of any size": lambda: _packed(
        {"m.onnx": _with_data(location="d", offset="0", length=str(1 << 40)), "d": _DATA}
    ),
}


# torch.export


@cache
def _program() -> Mapping[str, bytes]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = torch.export.Dim("n", min=1, max=64)
        found = torch.export.export(model, (torch.zeros(2, 3, 8, 8),), dynamic_shapes={"input": {0: size}})
        torch.export.save(found, out)
    with zipfile.ZipFile(out) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def _entry(end: str) -> str:
    return next(name for name in _program() if name.endswith(end))


def _document(edit: Edit, end: str = "models/model.json") -> bytes:
    """The program with its JSON edited."""
    document = json.loads(_program()[_entry(end)])
    edit(document)
    return a.archive({**_program(), _entry(end): json.dumps(document).encode()})


def _raw(content: bytes, end: str = "models/model.json") -> bytes:
    return a.archive({**_program(), _entry(end): content})


def _beside(name: str, content: bytes) -> bytes:
    root = next(iter(_program())).partition("/")[0]
    return a.archive({**_program(), f"{root}/{name}": content})


def _graph(document: Any) -> Any:
    return document["graph_module"]["graph"]


def _expressions(text: str) -> Edit:
    """Every symbolic expression of the program becomes this one."""

    def replace(part: Any) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                if key == "expr_str":
                    part[key] = text
                replace(value)
        elif isinstance(part, list):
            for value in part:
                replace(value)

    return replace


def _targets(text: str) -> Edit:
    return lambda d: _graph(d)["nodes"][0].__setitem__("target", text)


def _guards(text: str) -> Edit:
    return lambda d: d.__setitem__("guards_code", [text])


def _tree(text: str) -> Edit:
    def edit(document: Any) -> None:
        for entry in document["graph_module"]["module_call_graph"]:
            if entry.get("signature"):
                entry["signature"]["in_spec"] = text

    return edit


def _meta(**fields: Any) -> Edit:
    def edit(config: Any) -> None:
        first = next(iter(config["config"].values()))
        for key, value in fields.items():
            (first["tensor_meta"] if key in first["tensor_meta"] else first)[key] = value

    return edit


_EVIL = "__import__('os').system('touch {c}')"
PROGRAMS: dict[str, Callable[[Path], bytes]] = {
    "an expression that runs": lambda c: _document(_expressions(_EVIL.format(c=c))),
    "an expression of a lambda": lambda c: _document(_expressions("(lambda: 1)()")),
    "an expression by attributes": lambda c: _document(_expressions("Symbol('s0').__class__.__mro__")),
    "an expression of Python's names": lambda c: _document(_expressions("exec('1')")),
    "an expression with a text": lambda c: _document(
        _expressions("Symbol('" + _EVIL.format(c=c).replace("'", "") + "')")
    ),
    "an expression without end": lambda c: _document(_expressions("+".join(["s0"] * 40_000))),
    "an expression far within itself": lambda c: _document(_expressions("(" * 5000 + "1" + ")" * 5000)),
    "an expression of minus signs": lambda c: _document(_expressions("-" * 60_000 + "1")),
    "an expression of powers": lambda c: _document(_expressions("9**9**9**9")),
    "an expression of a large power": lambda c: _document(_expressions("10**999999999")),
    "an expression of powers within": lambda c: _document(_expressions("Pow(Pow(Pow(9, 9), 9), 999999)")),
    "an expression of shifts": lambda c: _document(_expressions("LShift(1, 9999999999)")),
    "an expression by zero": lambda c: _document(_expressions("FloorDiv(1, 0)")),
    "an expression of long digits": lambda c: _document(_expressions("9" * 10_000)),
    "an expression that is empty": lambda c: _document(_expressions("")),
    "an operator of Python": lambda c: _document(_targets("os.system")),
    "an operator of builtins": lambda c: _document(_targets("builtins.exec")),
    "an operator by private names": lambda c: _document(_targets("torch.ops.aten.__class__")),
    "an operator that loads": lambda c: _document(_targets("torch.ops.load_library")),
    "an operator that is long": lambda c: _document(_targets("torch.ops." + "a" * 5000)),
    "a guard that runs": lambda c: _document(_guards(_EVIL.format(c=c))),
    "a guard by attributes": lambda c: _document(_guards("L['x'].__class__")),
    "a guard without end": lambda c: _document(_guards("1+" * 9000 + "1")),
    "a guard that is no text": lambda c: _document(lambda d: d.__setitem__("guards_code", [{}])),
    "a tree of an enum": lambda c: _document(
        _tree(
            '[1, {"type": "builtins.dict", "children_spec": [], '
            '"context": "{\\"__enum__\\": true, \\"fqn\\": \\"os.x\\"}"}]'
        )
    ),
    "a tree far within itself": lambda c: _document(_tree("[" * 50_000 + "]" * 50_000)),
    "a tree that is no JSON": lambda c: _document(_tree("evil()")),
    "a name that is code": lambda c: _document(lambda d: _graph(d)["nodes"][0].__setitem__("name", "x=1;import os")),
    "a name twice": lambda c: _document(lambda d: _graph(d)["nodes"].append(copy.deepcopy(_graph(d)["nodes"][0]))),
    "a name before it is there": lambda c: _document(lambda d: _graph(d)["nodes"].reverse()),
    "no nodes": lambda c: _document(lambda d: _graph(d).pop("nodes")),
    "nodes that are a text": lambda c: _document(lambda d: _graph(d).__setitem__("nodes", "evil")),
    "a custom object": lambda c: _document(lambda d: _graph(d).__setitem__("custom_obj_values", {"x": {}})),
    "another schema": lambda c: _document(lambda d: d.__setitem__("schema_version", {"major": 99, "minor": 0})),
    "a range that is empty": lambda c: _document(
        lambda d: d.__setitem__("range_constraints", {"s77": {"min_val": 9, "max_val": 1}})
    ),
    "a range that runs": lambda c: _document(
        lambda d: d.__setitem__("range_constraints", {_EVIL.format(c=c): {"min_val": 0, "max_val": 1}})
    ),
    "JSON with a key twice": lambda c: _raw(b'{"schema_version": 1, "schema_version": 2}'),
    "JSON far within itself": lambda c: _raw(b"[" * 200_000 + b"]" * 200_000),
    "JSON objects far within": lambda c: _raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "JSON of numbers that are none": lambda c: _raw(b'{"a": NaN}'),
    "JSON of long digits": lambda c: _raw(b'{"a": ' + b"9" * 100_000 + b"}"),
    "JSON that is none": lambda c: _raw(b"\xff\xfe{}"),
    "JSON of UTF-16": lambda c: _raw('{"a": 1}'.encode("utf-16")),
    "a weight that is pickled": lambda c: _document(_meta(use_pickle=True), "weights_config.json"),
    "a weight of negative size": lambda c: _document(_meta(sizes=[{"as_int": -4}]), "weights_config.json"),
    "a weight behind the end": lambda c: _document(_meta(storage_offset={"as_int": 1 << 40}), "weights_config.json"),
    "a weight without end": lambda c: _document(
        _meta(sizes=[{"as_int": 1 << 60}], strides=[{"as_int": 0}]), "weights_config.json"
    ),
    "a weight of a symbol": lambda c: _document(_meta(sizes=[{"as_expr": {"expr_str": "s0"}}]), "weights_config.json"),
    "a weight of another type": lambda c: _document(_meta(dtype=5), "weights_config.json"),
    "a weight of a type that is none": lambda c: _document(_meta(dtype=999), "weights_config.json"),
    "a weight that is sparse": lambda c: _document(_meta(layout=1), "weights_config.json"),
    "a weight elsewhere": lambda c: _document(_meta(path_name="../../etc/passwd"), "weights_config.json"),
    "a weight that is missing": lambda c: _document(lambda d: d["config"].popitem(), "weights_config.json"),
    "example inputs that run": lambda c: _raw(
        a.checkpoint(a.whole(calls("os.system", f"touch {c}"))), "sample_inputs/model.pt"
    ),
    "example inputs that are a pickle": lambda c: _raw(
        a.whole(calls("os.system", f"touch {c}")), "sample_inputs/model.pt"
    ),
    "a compiled model": lambda c: _beside("data/aotinductor/model/x.so", b"\x7fELF"),
    "a library": lambda c: _beside("data/weights/x.so", b"\x7fELF"),
    "a custom constant": lambda c: _beside("data/constants/custom_obj_0", a.whole(calls("os.system", f"touch {c}"))),
    "extra code": lambda c: _beside("extra/x.pkl", a.whole(calls("os.system", f"touch {c}"))),
    "a second program": lambda c: _beside("models/other.json", b"{}"),
    "a record of nobody": lambda c: _beside("data/weights/weight_999", bytes(9)),
    "another format": lambda c: _raw(b"pt3", "archive_format"),
    "another byte order": lambda c: _raw(b"big", "byteorder"),
    "the layout of before 2.8": lambda c: a.archive({"serialized_exported_program.json": b"{}", "version": b"1"}),
}


# TorchScript and packages


@cache
def _script() -> Mapping[str, bytes]:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(1)), out)
    with zipfile.ZipFile(io.BytesIO(out.getvalue())) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def _scripts() -> dict[str, Callable[[Path], bytes]]:
    root = next(iter(_script())).partition("/")[0]
    return {
        "as it is": lambda c: a.archive(dict(_script())),
        "with a payload": lambda c: a.archive(
            {**_script(), f"{root}/data.pkl": a.whole(calls("os.system", f"touch {c}"))}
        ),
        "with constants that run": lambda c: a.archive(
            {**_script(), f"{root}/constants.pkl": a.whole(calls("os.system", f"touch {c}"))}
        ),
        "for mobile": lambda c: a.archive(
            {**_script(), f"{root}/bytecode.pkl": a.whole(calls("os.system", f"touch {c}"))}
        ),
        "within a checkpoint": lambda c: a.checkpoint(
            a.records()[f"{next(iter(a.records())).partition('/')[0]}/data.pkl"], **{"constants.pkl": a.whole(b"N")}
        ),
        "of the first version": lambda c: a.archive(
            {"x/model.json": b"{}", "x/code/model.py": b"import os", "x/version": b"1"}
        ),
        "as a package": lambda c: a.archive(
            {
                "x/.data/extern_modules": b"os\n",
                "x/m/__init__.py": f"open({str(c)!r},'w')".encode(),
                "x/m/m.pkl": a.whole(calls("os.system", f"touch {c}")),
            }
        ),
    }


def recipes() -> Iterator[Recipe]:
    for what, edit in ONNX.items():
        if what not in _ONNX_SOUND:
            yield Recipe(f"onnx {what}", lambda c, edit=edit: _edited(edit), heavy=what in _HEAVY)
    for what, content in {**WIRES, **{f"archive {key}": value for key, value in ARCHIVES.items()}}.items():
        yield Recipe(f"onnx {what}", lambda c, content=content: content(), heavy=what in _HEAVY)
    for what, program in PROGRAMS.items():
        yield Recipe(f"pt2 {what}", program)
    for what, script in _scripts().items():
        yield Recipe(f"torchscript {what}", script)
