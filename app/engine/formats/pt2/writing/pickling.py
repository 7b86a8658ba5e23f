"""Weights in the layout of torch 2.8: all in one file of torch.save, written anew where some of them changed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.engine.formats.pt2.archive import WEIGHTS
from app.engine.formats.pt2.payloads import pickled_name
from app.engine.formats.pt2.pt2_file import Pt2File
from app.engine.formats.pt2.writing.weights import Made
from app.engine.formats.torch_zip import write_torch_zip
from app.engine.ir.module import mapping
from app.engine.ir.tensors import buffer, parameter


@contextmanager
def pickled_records(
    file: Pt2File, made: Mapping[str, Made], gone: frozenset[str], target: Path
) -> Iterator[dict[str, Path]]:
    """The records that change, each in a file beside the target as long as it is being copied."""
    written: dict[str, Path] = {}
    try:
        for folder, held in file.pickled.items():
            fresh = made if folder == WEIGHTS else {}
            nodes = mapping(held.root) or {}
            if fresh or gone & set(nodes):
                name = pickled_name(folder, file.archive.model)
                written[name] = target.with_name(f"{target.name}.{len(written)}")
                write_torch_zip(held, _root(held.root, _changed(nodes, fresh, gone)), written[name])
        yield written
    finally:
        for path in written.values():
            path.unlink(missing_ok=True)


def _changed(nodes: Mapping[Any, Any], made: Mapping[str, Made], gone: frozenset[str]) -> dict[Any, Any]:
    kept = {path: node for path, node in nodes.items() if path not in gone and path not in made}
    ordered = {
        path: _node(made[path]) if path in made else kept[path] for path in nodes if path in made or path in kept
    }
    return ordered | {path: _node(one) for path, one in made.items() if path not in ordered}


def _node(made: Made) -> Any:
    make = parameter if made.kind == "parameter" else buffer
    return make(made.tensor, requires_grad=made.trains)


def _root(root: Any, nodes: dict[Any, Any]) -> Any:
    """The table as it was written: a plain dictionary, or an ordered one."""
    return nodes if isinstance(root, dict) else replace(root, pairs=nodes)
