"""The graph formats, each with what the pipeline asks of it.

A format's packages are imported when a file of it comes: most jobs need neither, and ONNX is an extra.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from app.engine.formats.detect import ONNX, ONNX_ZIP, Kind
from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.fuse.census import Census
from app.engine.ir import graph as ir
from app.engine.ir.graph import Graph
from app.engine.ir.program import Body, Port, Program
from app.engine.layers import Listed
from app.engine.verify.onnx_runtime import Ready
from app.errors import InvalidOption, UnsupportedFormat

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One graph format. The first argument of most is the format's own type of what was read: nobody else looks in."""

    read: Callable[[MappedFile, Limits], Any]
    ports: Callable[[Any], tuple[Port, ...]]
    follow: Callable[[Any, Shapes], Program]
    write: Callable[[Any, Program, Graph, Path], None]
    operators_of: Callable[[ir.Operation, int], int | None]
    count: Callable[[Any], Census]
    listed: Callable[[Any], tuple[Listed, ...]]
    # The sizes that were proposed, as near as the file allows (what is given stays); those at which it was exported.
    settle: Callable[[Any, Shapes, frozenset[str]], Shapes]
    exported_at: Callable[[Any], Shapes | None]
    # What the file says against sizes that a caller gives.
    misfit: Callable[[Any, Shapes], str | None]
    # The outputs as the format's own runtime computes them, without fusing anything; None: the numeric reading serves.
    run: Callable[[Path, Sequence[str], Sequence[Tensor], str], list[Tensor]] | None
    # The same with what that runtime does by itself, ready to be run many times; its name, and what it does.
    ready: Callable[[Path, str], Ready] | None = None
    runtime: Callable[[], str] = lambda: ""
    # Graphs within operators as files of their own, the file with others in their place, and with those of another.
    bodies: Callable[[Any, Program], Iterable[Body]] = lambda file, program: ()
    with_bodies: Callable[[Any, Sequence[tuple[Body, Program, Graph]]], Any] = lambda file, rewritten: file
    restored: Callable[[Any, Any, Sequence[Body]], Any] = lambda written, original, changed: written
    # Constants that a caller may override.
    defaults: Callable[[Any], tuple[str, ...]] = lambda file: ()


def dialect_of(kind: Kind, fold_defaults: bool = False) -> Dialect:
    """What is known of a graph format. Raises UnsupportedFormat where its extra is not installed."""
    if kind == ONNX_ZIP:
        return _onnx_archive(fold_defaults)
    if kind == ONNX:
        return _onnx(fold_defaults)
    if fold_defaults:
        raise InvalidOption(
            "overridable is 'fold', and the file is a torch.export program.",
            remedy="Leave it out: it is for ONNX models.",
        )
    return _pt2()


def _onnx(fold_defaults: bool) -> Dialect:
    try:
        import app.engine.formats.onnx as form
        import app.engine.forward.onnx as tables
        from app.engine.verify.onnx_runtime import ready_onnx, run_onnx, runtime_name
    except ModuleNotFoundError as error:
        raise UnsupportedFormat(
            f"the file is an ONNX model, and {error.name} is not installed here",
            remedy="Ask the operator to install the extra: pip install 'fusebox[onnx]'",
        ) from error
    return Dialect(
        read=form.read_onnx,
        ports=lambda file: tables.ports(file.model),
        follow=lambda file, shapes: tables.follow(file.model, file.tensors, shapes, fold_defaults),
        write=form.write_onnx,
        operators_of=form.operators_of,
        count=form.count,
        listed=form.listed,
        settle=lambda file, shapes, given: shapes,
        exported_at=lambda file: None,
        misfit=lambda file, shapes: None,
        run=run_onnx,
        ready=ready_onnx,
        runtime=runtime_name,
        bodies=form.bodies,
        with_bodies=form.with_bodies,
        restored=form.restored,
        defaults=lambda file: tables.defaults(file.model),
    )


def _onnx_archive(fold_defaults: bool) -> Dialect:
    """The same graphs, read and written with their external data."""
    dialect = _onnx(fold_defaults)
    import app.engine.formats.onnx as form
    from app.engine.verify.onnx_runtime import ready_onnx_archive, run_onnx_archive

    return replace(
        dialect,
        read=form.read_onnx_archive,
        write=form.write_onnx_archive,
        run=run_onnx_archive,
        ready=ready_onnx_archive,
    )


def _pt2() -> Dialect:
    import app.engine.formats.pt2 as form
    import app.engine.forward.aten as tables

    return Dialect(
        read=form.read_pt2,
        ports=tables.ports,
        follow=tables.follow,
        write=form.write_pt2,
        operators_of=form.operators_of,
        count=form.count,
        listed=form.listed,
        settle=tables.settled,
        exported_at=tables.exported_at,
        misfit=tables.misfit,
        run=None,
    )
