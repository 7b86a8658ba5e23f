"""Sound inputs to begin with: `python -m tests.fuzz.seeds` writes them into tests/fuzz/corpus."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.hostile.corpus import assemble, graphs, opcodes, safetensors, tensors
from tests.hostile.corpus.archives import sound
from tests.hostile.corpus.shadowing import module

CORPUS = Path(__file__).parent / "corpus"


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name, content."""
    root = next(iter(assemble.records())).partition("/")[0]
    for protocol in (2, 4):
        yield "pickle_machine", f"model-{protocol}", assemble.records(protocol)[f"{root}/data.pkl"]
    yield "pickle_machine", "module", assemble.whole(module())
    yield "pickle_machine", "tensor", assemble.whole(tensors.tensor())
    for number, (operations, _) in enumerate(opcodes.WAYS.values()):
        if number % 4 == 0:
            yield "pickle_machine", f"way-{number}", assemble.whole(operations("x"), 4)
    small = assemble.alone(assemble.whole(b"}" + assemble.text("w") + tensors.tensor(numel=0, shape=(0,)) + b"s"))
    yield "zip_archive", "small", small
    yield "zip_archive", "model", sound()
    yield "checkpoint", "zip", sound()
    yield "checkpoint", "legacy", _legacy()
    yield "safetensors", "one", safetensors.file({"w": safetensors.entry()})
    yield (
        "safetensors",
        "two",
        safetensors.file(
            {"__metadata__": {"a": "b"}, "a": safetensors.entry(), "b": safetensors.entry("I8", [0], [16, 16])}
        ),
    )
    yield "onnx", "model", graphs._onnx().SerializeToString()
    yield "pt2", "program", _without_traces(graphs._program()[graphs._entry("models/model.json")])
    for number, text in enumerate(("2*s0", "Mul(Integer(2), Symbol('s0', positive=True))", "Max(1, s0//2 % 3)**2")):
        yield "expression", str(number), text.encode()
    yield "safetensors", "empty", struct.pack("<Q", 2) + b"{}"


def _legacy() -> bytes:
    """Of tensors: a legacy file of modules holds the source text of their classes."""
    out = io.BytesIO()
    torch.save(assemble.model().state_dict(), out, pickle_protocol=2, _use_new_zipfile_serialization=False)
    return out.getvalue()


def _without_traces(program: bytes) -> bytes:
    """A program that does not say in which folder it was made."""
    document = json.loads(program)
    for node in document["graph_module"]["graph"]["nodes"]:
        node["metadata"].pop("stack_trace", None)
    return json.dumps(document).encode()


def main() -> None:
    for target, name, content in seeds():
        path = CORPUS / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
