"""The vocabulary with true dtypes, for operators whose arguments may all be constants: those give a constant."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from operator import getitem
from typing import Any, Final

import torch
from torch import Tensor

from app.engine.forward.onnx.formula import fold
from app.engine.forward.vocabulary import UnknownFlow, Vocabulary
from app.engine.ir.graph import Const, Value

Known = Value | Const
READ_ELEMENTS: Final = 1 << 12  # integers up to here are read to know shapes, others stand as zeros
_SAMPLE_BYTES: Final = 2 << 30  # a result that takes more is not tried out


@dataclass(slots=True)
class Emitter(Vocabulary):
    """Writes down nodes, folds what depends on constants alone."""

    dtypes: dict[int, tuple[Const, torch.dtype]] = field(default_factory=dict)  # of folded constants, by id
    certain: dict[int, tuple[Const, Tensor]] = field(default_factory=dict)  # which elements do not vary, by id

    def dtype(self, known: Known) -> torch.dtype:
        """The dtype that a value or a constant has in the file."""
        if isinstance(known, Value):
            return known.dtype
        folded = self.dtypes.get(id(known))
        return known.stored_dtype if folded is None else folded[1]

    def like(self, old: Const, new: Const) -> Const:
        """The new constant, with the dtype that the old one has in the file."""
        self.dtypes[id(new)] = (new, self.dtype(old))
        return new

    def compute(
        self,
        name: str,
        function: Callable[..., Tensor],
        args: tuple[Any, ...],
        folds: bool = True,
        foreign: bool = False,
        shape: tuple[int, ...] | None = None,
    ) -> Known:
        """function(*args): a constant if all tensors among `args` are, else a node.

        Where the shape of the result is known, the function is tried on single elements only, for its dtype.
        """
        sample = self._try(name, function, args, foreign, alone=shape is not None)
        if not isinstance(sample, Tensor):
            raise self._unusable(name, "does not give one tensor")
        if shape is not None:
            sample = sample.new_zeros(()).expand(shape)
        return self._known(name, function, args, sample, folds)

    def compute_many(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], folds: bool = True, foreign: bool = False
    ) -> list[Known]:
        """The same for a function that gives several tensors."""
        samples = list(self._try(name, function, args, foreign))
        if folds and _constant(args):
            constants = [self._fold(function, args, sample, index) for index, sample in enumerate(samples)]
            if None not in constants:
                return [constant for constant in constants if constant is not None]
        whole = self._apply(name, function, args, {}, (), torch.float32)
        return [
            self._apply(f"{name}, output {index}", getitem, (whole, index), {}, tuple(sample.shape), sample.dtype)
            for index, sample in enumerate(samples)
        ]

    def keeping(self, name: str, function: Callable[..., Tensor], x: Known, *args: Any) -> Known:
        """An element-wise function that keeps shape and dtype of `x`: not run to know it."""
        if not isinstance(x, Value) or not all(_enlarges_nothing(arg, x.shape) for arg in args):
            return self.compute(name, function, (x, *args))
        return self._apply(name, function, (x, *args), {}, x.shape, x.dtype)

    def _known(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], sample: Tensor, folds: bool
    ) -> Known:
        folded = self._fold(function, args, sample, None) if folds and _constant(args) else None
        return folded or self._apply(name, function, args, {}, tuple(sample.shape), sample.dtype)

    def _fold(
        self, function: Callable[..., Any], args: tuple[Any, ...], sample: Tensor, output: int | None
    ) -> Const | None:
        folded = fold(function, args, sample, self.owner, output)
        if folded is not None:
            self.dtypes[id(folded)] = (folded, sample.dtype)
        return folded

    def _try(
        self, name: str, function: Callable[..., Any], args: tuple[Any, ...], foreign: bool = False, alone: bool = False
    ) -> Any:
        """The function on zeros, and on ones where it does not take zeros (an integer division).

        One that is not ours is tried in float64 as well: some implementations take only the dtypes of the standard.
        """
        for fill in (0, 1):
            samples = [_single(arg, self, fill) if alone else self._sample(name, arg, fill, foreign) for arg in args]
            try:
                with torch.no_grad():
                    result = function(*samples)
                    if foreign:
                        function(*map(_widened, samples))
                return result
            # The function may be onnx's own implementation of an operator, which fails in whatever way it likes.
            except Exception as error:
                failure = error
        raise self._unusable(name, f"does not take these inputs: {first_line(failure)}") from failure

    def _sample(self, name: str, arg: Any, fill: int, foreign: bool) -> Any:
        """Stands for an argument. Small integers, and all small constants of foreign functions, are what they are."""
        if not isinstance(arg, (Value, Const)):
            return arg
        dtype = self.dtype(arg)
        read = isinstance(arg, Const) and prod(arg.shape) <= READ_ELEMENTS
        if isinstance(arg, Const) and read and (foreign or not dtype.is_floating_point):
            return arg.value(None)
        if prod(arg.shape) * dtype.itemsize > _SAMPLE_BYTES:
            raise self._unusable(name, f"takes a tensor of {prod(arg.shape):,} elements")
        return torch.full(arg.shape, fill, dtype=torch.uint8).to(dtype)

    def _unusable(self, name: str, why: str) -> UnknownFlow:
        return UnknownFlow(self.owner, "operator-not-evaluated", f"{name} {why}")


def _constant(args: tuple[Any, ...]) -> bool:
    tensors = [arg for arg in args if isinstance(arg, (Value, Const))]
    return bool(tensors) and all(isinstance(tensor, Const) for tensor in tensors)


def _single(arg: Any, ops: Emitter, fill: int) -> Any:
    """One element in the place of a tensor."""
    if not isinstance(arg, (Value, Const)):
        return arg
    return torch.full((1,) * len(arg.shape), fill, dtype=torch.uint8).to(ops.dtype(arg))


def _enlarges_nothing(arg: Any, shape: tuple[int, ...]) -> bool:
    if not isinstance(arg, (Value, Const)):
        return True
    fits = (size in (1, whole) for size, whole in zip(reversed(arg.shape), reversed(shape), strict=False))
    return len(arg.shape) <= len(shape) and all(fits)


def _widened(arg: Any) -> Any:
    return arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
