"""Graph files side by side: in their format's own runtime where there is one, else as graphs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.engine.dialects import Dialect, Shapes
from app.engine.ir.program import Program, told
from app.engine.latency.contest import Contest, Pair, Unmeasured
from app.engine.latency.graphs import Both, of_graphs, peak_bytes
from app.engine.verify.onnx_runtime import CannotRun, Ready
from app.engine.verify.probes import typed_probe

_FUSES = "onnxruntime fuses convolutions and batch norms by itself whenever it loads a model"


@dataclass(frozen=True, slots=True)
class Side:
    """A file as it was read, and where it lies."""

    path: Path
    file: Any


@dataclass(frozen=True, slots=True)
class Programs:
    """Both files. `shapes(batch)` proposes sizes for the inputs, and `unread` operators are on both sides."""

    dialect: Dialect
    before: Side
    after: Side
    unread: int
    shapes: Callable[[int], Iterator[Shapes]]

    def followed(self, batch: int) -> tuple[Program, Program] | None:
        """Both at the first sizes of that batch that all of the file takes."""
        for shapes in self.shapes(batch):
            before = self.dialect.follow(self.before.file, shapes)
            if len(before.skipped) <= self.unread:
                return before, self.dialect.follow(self.after.file, shapes)
        return None


def contest_of_programs(both: Programs, device: str, name: str) -> Contest | Unmeasured:
    """The contest; `name` is the dtype that the files compute in."""
    if both.dialect.ready is not None:
        try:
            return _in_runtime(both, both.dialect.ready, device, name)
        except CannotRun as error:
            if both.unread:
                return Unmeasured(f"onnxruntime can't run the model ({error})")
    if both.unread:
        return Unmeasured("some of its operators are not read, and nothing else here runs it")
    return of_graphs(lambda batch: _graphs(both, batch), None, name, device)


def _graphs(both: Programs, batch: int) -> Both | None:
    found = both.followed(batch)
    return None if found is None else Both(told(found[0].graph), told(found[1].graph))


def _in_runtime(both: Programs, ready: Callable[[Path, str], Ready], device: str, name: str) -> Contest:
    sessions = [ready(side.path, device) for side in (both.before, both.after)]

    @cache
    def at(batch: int) -> Pair | None:
        found = both.followed(batch)
        return None if found is None else _bound(found[0], sessions)

    if at(1) is None:
        raise CannotRun("no sizes were found that it takes")
    return Contest(both.dialect.runtime(), name, at, _FUSES)


def _bound(program: Program, sessions: Sequence[Ready]) -> Pair | None:
    """Both on seeded inputs, tried once: a size of another batch may stand in one of their operators."""
    own = program.own_inputs
    inputs = typed_probe([(value.shape, value.dtype) for value in own])
    try:
        before, after = (session(program.inputs, inputs) for session in sessions)
        before(), after()
    except Exception:  # the runtime's own exceptions share no base class but this
        return None
    return Pair(before, after, tuple(value.shape for value in own), peak_bytes(program.graph, None))
