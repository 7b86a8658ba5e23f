"""The program with which a user compares both files in an environment of his own, with his own classes.

What comes from a file (names, class paths) is written as Python writes texts, so that none of it becomes code.
"""

from collections.abc import Iterator
from typing import Final

from app.report import Report

_STATE_DICT: Final = "state dict"
_USUAL: Final = ((1, 3, 224, 224),)
_AVERAGES: Final = ("ema", "model_ema", "ema_model")  # what is written of them stands under `model`
_SLACK = 10  # times what was measured here: other machines add in another order
_LEAST = 1e-6

_RUN: Final = '''
def inputs():
    """Seeded as the report's own; put yours here instead."""
    random = torch.Generator().manual_seed(SEED)
    return [torch.rand(shape, generator=random).to(torch.bfloat16).to(torch.float32) for shape in SHAPES]


def flat(nest):
    """The tensors in what a model returns."""
    if isinstance(nest, dict):
        nest = list(nest.values())
    if isinstance(nest, (list, tuple)):
        return [tensor for part in nest for tensor in flat(part)]
    return [torch.as_tensor(nest)] if nest is not None and not isinstance(nest, str) else []


def apart(a, b):
    """How far two outputs lie from each other, relative to their size; what is NaN or infinite must be so in both."""
    a, b = a.double(), b.double()
    same = (a == b) | (a.isnan() & b.isnan())
    size = torch.where(a.isfinite(), a, 0).abs().max().clamp_min(1e-30)
    worst = float(torch.where(same, 0, (a - b).abs()).max() / size)
    return worst if worst == worst else float("inf")


def outputs(load, path):
    """What the model of a file puts out, or why it does not."""
    try:
        model = load(path)
    except Exception as error:
        sys.exit(f"{path} can't be loaded here: {type(error).__name__}: {error}")
    try:
        with torch.no_grad():
            return flat(model([one.clone() for one in inputs()]))
    except Exception as error:
        sys.exit(f"{path} can't be run on inputs of {SHAPES}, see inputs(): {type(error).__name__}: {error}")


for path in (BEFORE, AFTER):
    if not os.path.exists(path):
        sys.exit(f"{path} is not here: run this where both files lie, or write above where they are")
old, new = outputs(before, BEFORE), outputs(after, AFTER)
if [one.shape for one in old] != [one.shape for one in new]:
    sys.exit(f"Not the same: the outputs have other shapes, {[*map(tuple, (one.shape for one in old))]} before and "
             f"{[*map(tuple, (one.shape for one in new))]} after")
worst = max((apart(a, b) for a, b in zip(old, new) if a.is_floating_point() and a.numel()), default=None)
if worst is None:
    sys.exit("Nothing was compared: the models put out no floating-point numbers")
print(f"{len(old)} outputs, the largest difference is {worst:.2g} of the output's size (accepted: {LIMIT:.2g})")
print("The same." if worst <= LIMIT else "Not the same.")
sys.exit(0 if worst <= LIMIT else 1)
'''

_PICKLED: Final = '''
def {name}(path):
    """torch.load runs what the file says: do this to checkpoints that you trust."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    model = content[{key}] if isinstance(content, dict) else content
    model = getattr(model, "module", model) if not isinstance(model, torch.nn.Module) else model
    model = model.to({dtype}).eval()
    return lambda x: model(x[0].to({dtype}) if len(x) == 1 else [one.to({dtype}) for one in x])
'''

_BUILD: Final = '''
def build():
    """The model as your code builds it, without weights."""
    {build}
'''

_WEIGHTS: Final = '''
def weights(path):
    """The tensors of the file, without what was put before their names."""
    {read}
    return {{name.removeprefix({prefix}): one for name, one in tensors.items() if torch.is_tensor(one)}}


def deployed(model, names):
    """The model without the norms that the file has no more, and with the biases that it has now."""
    for name, module in list(model.named_modules()):
        inner = {{one for one in names if one.startswith(name + ".")}}
        other = inner - {{f"{{name}}.{{own}}" for own in module.state_dict()}}
        method = next((one for one in ("fuse", "reparameterize", "switch_to_deploy") if hasattr(module, one)), None)
        if name and other and method:
            getattr(module.eval(), method)()
    for name, module in list(model.named_modules()):
        above, _, last = name.rpartition(".")
        if hasattr(module, "running_var") and f"{{name}}.running_var" not in names:
            setattr(model.get_submodule(above), last, torch.nn.Sequential(*module.children()))
        elif f"{{name}}.bias" in names and getattr(module, "bias", module) is None:
            module.bias = torch.nn.Parameter(torch.zeros(len(names[f"{{name}}.bias"])))
    return model
'''

_LOADED: Final = """
def {name}(path):
    tensors = weights(path)
    model = {model}
    model.load_state_dict(tensors)
    model = model.to({dtype}).eval()
    return lambda x: model(*(one.to({dtype}) for one in x))
"""

_ONNX: Final = """
def {name}(path):
    {unpack}session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ports, kinds = session.get_inputs(), {{"float": "float32", "double": "float64"}}
    kinds = [kinds.get(port.type[7:-1], port.type[7:-1]) for port in ports]
    return lambda x: session.run(None, {{p.name: one.numpy().astype(k) for p, k, one in zip(ports, kinds, x)}})
"""

_UNPACK: Final = """folder = tempfile.mkdtemp()
    zipfile.ZipFile(path).extractall(folder)
    (path,) = map(str, pathlib.Path(folder).rglob("*.onnx"))
    """

_PT2: Final = """
def {name}(path):
    program = torch.export.load(path)
    names = program.graph_signature.user_inputs
    kinds = {{node.name: node.meta["val"].dtype for node in program.graph.nodes if node.op == "placeholder"}}
    model = program.module()
    return lambda x: model(*(one.to(kinds[name]) for name, one in zip(names, x)))
"""


def comparison_snippet(report: Report) -> str:
    """The program, ready to run where both files lie."""
    return "\n".join(_head(report)) + "".join(_parts(report)) + "\n" + _RUN


def _head(report: Report) -> Iterator[str]:
    detected, output = report.input.detected, report.output
    yield "# Runs the original and the fused file on the same inputs, and compares what comes out."
    if _kind(report.input.format, detected.model_class) == "pickled":
        yield f"# To be run where Python finds the code of {detected.model_class!a}."
    yield "import os"
    yield "import sys"
    yield from (f"import {name}" for name in _modules(report))
    yield "\nimport torch\n"
    yield f"BEFORE, AFTER = {report.input.filename!a}, {output.filename!a}"
    yield f"SHAPES = {_shapes(report)!r}{_doubt(report)}"
    yield f"SEED = {report.equivalence.probe.seed if report.equivalence else 0}"
    yield f"LIMIT = {_limit(report):.3g}"
    yield ""


def _modules(report: Report) -> list[str]:
    kinds = {report.input.format, report.output.format}
    return ["pathlib", "tempfile", "zipfile"] if kinds & {"onnx-zip", "safetensors-zip"} else []


def _parts(report: Report) -> Iterator[str]:
    """What opens each of the files; of weights what both need first."""
    detected = report.input.detected
    kinds = [_kind(report.input.format, detected.model_class), _kind(report.output.format, detected.model_class)]
    if "onnx" in kinds:
        yield "\nimport onnxruntime\n"
    if "weights" in kinds:
        yield _BUILD.format(build=_build(report))
        yield "\n" + _WEIGHTS.format(read=_read(report), prefix=ascii(detected.prefix))
    for name, kind, form in zip(("before", "after"), kinds, (report.input.format, report.output.format), strict=True):
        yield "\n" + _opener(report, name, kind, form)


def _kind(form: str, model_class: str) -> str:
    if form.startswith("onnx"):
        return "onnx"
    if form == "pt2":
        return "pt2"
    return "weights" if model_class == _STATE_DICT else "pickled"


def _opener(report: Report, name: str, kind: str, form: str) -> str:
    dtype = f"torch.{report.equivalence.native.dtype if report.equivalence else 'float32'}"
    match kind:
        case "onnx":
            return _ONNX.format(name=name, unpack=_UNPACK if form == "onnx-zip" else "")
        case "pt2":
            return _PT2.format(name=name)
        case "weights":
            model = "build()" if name == "before" else "deployed(build(), tensors)"
            return _LOADED.format(name=name, model=model, dtype=dtype)
    source = report.input.detected.source
    key = "model" if name == "after" and source in _AVERAGES else source
    return _PICKLED.format(name=name, key=ascii(key), dtype=dtype)


def _build(report: Report) -> str:
    detected = report.input.detected
    count = "" if detected.classes is None else f", num_classes={detected.classes}"
    if detected.family == "torchvision" and detected.variant:
        return (
            f"import torchvision\n\n    return torchvision.models.get_model({detected.variant!a}, weights=None{count})"
        )
    if detected.family == "timm" and detected.variant:
        return f"import timm\n\n    return timm.create_model({detected.variant!a}{count})"
    return 'sys.exit("say here how your code builds the model: return MyModel(...)")'


def _read(report: Report) -> str:
    if report.input.format == "safetensors-zip":
        return (
            "from safetensors.torch import load_file\n\n    folder = tempfile.mkdtemp()\n"
            "    zipfile.ZipFile(path).extractall(folder)\n"
            '    shards = [load_file(one) for one in pathlib.Path(folder).rglob("*.safetensors")]\n'
            "    tensors = {name: one for shard in shards for name, one in shard.items()}"
        )
    if report.input.format == "safetensors":
        return "from safetensors.torch import load_file\n\n    tensors = load_file(path)"
    content = 'torch.load(path, map_location="cpu", weights_only=True)'
    key = report.input.detected.source
    return f"tensors = {content}" + (f"\n    tensors = tensors.get({key!a}, tensors)" if key else "")


def _shapes(report: Report) -> tuple[tuple[int, ...], ...]:
    """Those of the comparison where it was of the whole model."""
    equivalence, size = report.equivalence, report.input.detected.input_size
    if equivalence is not None and equivalence.scope == "model":
        return equivalence.probe.shape
    return _USUAL if size is None else ((1, *size[-3:]),)


def _doubt(report: Report) -> str:
    whole = report.equivalence is not None and report.equivalence.scope == "model"
    return "" if whole else "  # what the model takes is not in the file: write its sizes here"


def _limit(report: Report) -> float:
    if report.equivalence is None or report.equivalence.scope != "model":
        return 1e-3
    native = report.equivalence.native
    return _SLACK * max(native.noise, native.relative, _LEAST)
