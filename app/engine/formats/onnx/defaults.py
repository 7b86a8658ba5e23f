"""Initializers that are inputs as well: which of them a caller could override and can't any more."""

from collections.abc import Iterable

from onnx import ModelProto

from app.engine.formats.onnx.order import Step
from app.engine.forward.onnx import captured, defaults, first_output, needed
from app.engine.ir.program import Program


def folded_defaults(model: ModelProto, program: Program, steps: Iterable[Step]) -> set[str]:
    """Those of which some reader is gone: whoever overrode them would not be heard there.

    One that the program leaves to the caller is read by all that read it before.
    """
    free = set(defaults(model)) - set(program.defaults)
    # A new operator has its inputs beside its message only.
    kept = [step for step in steps if step.node.input]
    standing = {(first_output(step.node), name) for step in kept for name in free.intersection(step.reads())}
    readers = ((first_output(node), (*node.input, *captured(node))) for node in needed(model.graph))
    return {name for owner, read in readers for name in free.intersection(read) if (owner, name) not in standing}
