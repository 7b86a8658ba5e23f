"""Inert trees for tests: from torch's own modules, from checkpoints with outputs of the original code, and by hand."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.engine.formats import read_file
from app.engine.forward.families import family_of
from app.engine.forward.trace import trace
from app.engine.interpret.numeric import run
from app.engine.ir.module import Module, is_module, mapping, module_node
from app.engine.ir.node import Object
from app.engine.ir.tensors import parameter

_ROOT = Path(__file__).resolve().parents[3]
_OWN = _ROOT / "tests" / "data" / "yolov7-blocks"
_SHIPPED = _ROOT.parent / "shared" / "checkpoints"


def blocks() -> list[Path]:
    """Single YOLOv7 blocks: all of them where they lie beside the repository, else the tests' own."""
    return sorted((_SHIPPED / "yolov7-blocks").glob("*.pt")) or sorted(_OWN.glob("*.pt"))


def models() -> list[Path]:
    """Whole YOLOv7 models; none where only the repository is at hand."""
    return sorted(_SHIPPED.glob("yolov7*.pt"))


def block(name: str) -> Path:
    return _OWN / f"{name}.pt"


def model_at(path: Path) -> Module:
    """The model of a checkpoint, `ema` before `model`."""
    root = read_file(path).root
    if is_module(root):
        return Module(root)
    table = mapping(root)
    return Module(table["ema"] if table.get("ema") is not None else table["model"])


def oracle(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """(inputs, outputs) of the original code, in fp32; a model's raw head outputs come after its output."""
    tensors = load_file(path.with_name(f"{path.stem}.oracle.safetensors"))
    names = sorted(tensors, key=lambda name: (not name.startswith("output"), name))
    outputs = [tensors[name] for name in names if not name.startswith("input")]
    return [tensors[name] for name in names if name.startswith("input")], outputs


def read(module: torch.nn.Module, tmp_path: Path) -> Module:
    """A live module as our reader sees it after torch.save."""
    path = tmp_path / "module.pt"
    torch.save(module, path)
    return Module(read_file(path).root)


def outputs(module: Module, inputs: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """All tensors that the description of the module gives."""
    traced = trace(module, [tuple(x.shape) for x in inputs], family_of)
    return list(tensors_in(run(traced.graph, inputs, dtype)))


def tensors_in(nest: object) -> Iterator[Tensor]:
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, (list, tuple, dict)):
        for part in nest.values() if isinstance(nest, dict) else nest:
            yield from tensors_in(part)


def layer(tmp_path: Path, module: torch.nn.Module) -> Object:
    """A live torch layer as an inert node: a made-up result of fusing."""
    buffer = io.BytesIO()
    torch.save(module, buffer)
    path = tmp_path / f"layer{len(list(tmp_path.iterdir()))}.pt"
    path.write_bytes(buffer.getvalue())
    node = read_file(path).root
    assert isinstance(node, Object)
    return node


def made_up(class_path: str, modules: dict[str, object] | None = None, **attributes: object) -> Module:
    """A module of any class, by hand; tensors among the attributes become parameters."""
    name = tuple(class_path.rsplit(".", 1))
    parameters = {key: parameter(value) for key, value in attributes.items() if isinstance(value, Tensor)}
    plain = {key: value for key, value in attributes.items() if not isinstance(value, Tensor)}
    return Module(module_node(name, training=False, parameters=parameters, modules=modules or {}, attributes=plain))
