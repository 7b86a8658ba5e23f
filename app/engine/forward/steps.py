"""Blocks that call their children in one order, with or without a shortcut around them.

A step is a child's name; `name?` may be missing or None. A module with any other child does not fit.
"""

from collections.abc import Callable
from typing import Any

from app.engine.forward.family import Describe, Family, Shapes
from app.engine.forward.structure import maps, only_children
from app.engine.forward.trace import Block, Ops
from app.engine.forward.vocabulary import UnknownFlow
from app.engine.ir.module import Module

Examples = Callable[[Module], Shapes | None]


def through(block: Block, x: Any, *steps: str) -> Any:
    """The children of these names, one after the other."""
    for step in steps:
        child = block.find(step.removesuffix("?"))  # not an attribute: a child may be called `module`
        if child is not None:
            x = child(x)
        elif not step.endswith("?"):
            raise UnknownFlow(block.module.path, "structure-differs", f"has no child {step}")
    return x


def steps_fit(*steps: str) -> Callable[[Module], bool]:
    """Whether the children are these steps and no others."""
    names = tuple(step.removesuffix("?") for step in steps)
    required = tuple(step for step in steps if not step.endswith("?"))

    def fits(module: Module) -> bool:
        return all(module.child(name) is not None for name in required) and only_children(module, *names)

    return fits


def in_steps(*steps: str) -> Describe:
    def describe(block: Block, x: Any, ops: Ops) -> Any:
        return through(block, x, *steps)

    return describe


def sequence(read_as: str, paths: tuple[str, ...], *steps: str, examples: Examples | None = None) -> Family:
    """A family of classes that call their children in this order."""
    return Family(read_as, paths, in_steps(*steps), steps_fit(*steps), example_shapes=examples or maps())


def residual(
    read_as: str, paths: tuple[str, ...], *steps: str, after: tuple[str, ...] = (), shortcut: str | None = None
) -> Family:
    """As `sequence`, plus the input or what `shortcut` makes of it; the steps `after` come behind the sum."""
    around = () if shortcut is None else (f"{shortcut}?",)

    def describe(block: Block, x: Any, ops: Ops) -> Any:
        return through(block, ops.add(through(block, x, *steps), through(block, x, *around)), *after)

    return Family(read_as, paths, describe, steps_fit(*steps, *around, *after), example_shapes=maps())
