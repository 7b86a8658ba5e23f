"""Sound inputs to begin with: `python -m tests.fuzz.seeds` writes them into tests/fuzz/corpus."""

import struct
from collections.abc import Iterator
from pathlib import Path

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
    yield "checkpoint", "legacy", assemble.saved(2, False)
    yield "safetensors", "one", safetensors.file({"w": safetensors.entry()})
    yield (
        "safetensors",
        "two",
        safetensors.file(
            {"__metadata__": {"a": "b"}, "a": safetensors.entry(), "b": safetensors.entry("I8", [0], [16, 16])}
        ),
    )
    yield "onnx", "model", graphs._onnx().SerializeToString()
    yield "pt2", "program", graphs._program()[graphs._entry("models/model.json")]
    for number, text in enumerate(("2*s0", "Mul(Integer(2), Symbol('s0', positive=True))", "Max(1, s0//2 % 3)**2")):
        yield "expression", str(number), text.encode()
    yield "safetensors", "empty", struct.pack("<Q", 2) + b"{}"


def main() -> None:
    for target, name, content in seeds():
        path = CORPUS / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
