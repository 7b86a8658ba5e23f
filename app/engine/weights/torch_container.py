"""State dicts in torch checkpoints: bare, or nested in a dictionary beside epoch, optimizer and the like."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from app.engine.formats import TorchFile, read_file, write_file
from app.engine.ir.checkpoint import DROPPED, is_state_dict, storages
from app.engine.ir.module import mapping
from app.engine.ir.node import Object
from app.engine.ir.tensors import is_parameter, is_tensor, without_parameter
from app.engine.weights.container import Container, Tensors
from app.engine.weights.naming import wrapper_prefix
from app.errors import MalformedFile
from app.report import Removed

# Where training scripts keep averaged weights, and where they keep the others; the best first.
_AVERAGED: Final = (
    *("ema", "model_ema", "ema_model", "state_dict_ema", "params_ema", "ema_state_dict", "model_ema_state_dict"),
    *("ema_model_state_dict", "ema_params", "ema_weights", "averaged_model"),
)
_PLAIN: Final = (
    *("state_dict", "model", "model_state_dict", "model_state", "params", "net", "network", "module", "weights"),
    *("generator", "net_g", "backbone", "student", "teacher"),
)
# Where one of these dictionaries keeps its weights in turn.
_INNER: Final = ("module", "model", "state_dict", "ema", "shadow", "model_state_dict")
_DEEPEST: Final = 4  # keys that lead to one
_TRAINING: Final = "training state that inference does not read"
_SURROGATES: Final = re.compile("[\ud800-\udfff]")  # halves of a character, that no report could name


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file's root a state dict stands: the keys that lead to it."""

    keys: tuple[str, ...]
    table: Any  # the dict or OrderedDict node

    @property
    def pairs(self) -> dict[Any, Any]:
        found = mapping(self.table)
        assert found is not None
        return found


def find_state_dict(root: Any) -> Place | None:
    """The state dict of a file, averaged weights before others; None if there is none."""
    return next(_places(root), None)


def _places(root: Any) -> Iterator[Place]:
    table = mapping(root)
    if table is None:
        return
    if is_state_dict(table):
        yield Place((), root)
        return
    known = (*_AVERAGED, *_PLAIN)
    for key in (*known, *(key for key in table if isinstance(key, str) and key not in known and key not in DROPPED)):
        yield from _nested((key,), table.get(key))


def _nested(keys: tuple[str, ...], node: Any) -> Iterator[Place]:
    """The state dict that stands there, and those below."""
    table = mapping(node)
    if table is None:
        return
    if is_state_dict(table):
        yield Place(keys, node)
    for key in _INNER if len(keys) < _DEEPEST else ():
        yield from _nested((*keys, key), table.get(key))


def torch_container(file: TorchFile, place: Place) -> Container:
    """The state dict at a place of a torch checkpoint."""
    tensors = _tensors(place)
    return Container(
        format=file.format,
        tensors=tensors,
        key=".".join(place.keys),
        globals=file.globals,
        write=partial(_write, file, place),
        again=partial(_again, place.keys),
    )


def _tensors(place: Place) -> dict[str, Object]:
    found = {}
    for name, node in place.pairs.items():
        if is_tensor(node):
            if _SURROGATES.search(name):
                raise MalformedFile(f"the name of a tensor, {name[:100]!r}, is no Unicode text")
            found[name] = node
    return found


def _again(keys: tuple[str, ...], target: Path) -> Tensors:
    node = read_file(target).root
    for key in keys:
        node = (mapping(node) or {}).get(key)
    return _tensors(Place(keys, node))


def _write(file: TorchFile, place: Place, tensors: Tensors, target: Path) -> tuple[Removed, ...]:
    """The file with these tensors in the state dict's place, without optimizer and second copies of the weights."""
    had = _tensors(place)
    removed = tuple(_strip(file.root, place))
    if not any(map(is_parameter, had.values())):
        own = {id(node) for node in had.values()}
        tensors = {name: node if id(node) in own else without_parameter(node) for name, node in tensors.items()}
    _replace(place.pairs, tensors)
    _follow(place.table, set(had), set(tensors))
    write_file(file, file.root, target)
    return removed


def _replace(pairs: dict[Any, Any], tensors: Tensors) -> None:
    """These tensors in their order; what else is in the state dict stays behind the tensor that it stood behind."""
    behind: dict[str, list[tuple[Any, Any]]] = {}
    last = ""
    for key, value in pairs.items():
        if not is_tensor(value):
            behind.setdefault(last, []).append((key, value))
        elif key in tensors:
            last = key
    pairs.clear()
    pairs.update(behind.pop("", ()))
    for name, node in tensors.items():
        pairs[name] = node
        pairs.update(behind.get(name, ()))


def _follow(table: Any, before: set[str], after: set[str]) -> None:
    """Let `_metadata`, in which torch keeps the version of each module, speak of the modules that are there."""
    state = table.state if isinstance(table, Object) else None
    versions = mapping(state.get("_metadata")) if isinstance(state, dict) else None
    if versions is None:
        return
    for path in _modules(before) - _modules(after):
        versions.pop(path, None)
    for path in sorted(_modules(after) - _modules(before)):
        versions[path] = {"version": 1}


def _modules(names: set[str]) -> set[str]:
    """The paths of all modules that hold these tensors, directly or below."""
    found: set[str] = set()
    for name in names:
        path = name.rpartition(".")[0]
        while path and path not in found:
            found.add(path)
            path = path.rpartition(".")[0]
    return found


def _strip(root: Any, place: Place) -> list[Removed]:
    """Leave out training state, and other copies of these weights, as for a checkpoint of whole modules."""
    table = mapping(root)
    if not place.keys or table is None:
        return []
    mine = bare_names(place.pairs)
    copies = [key for key in table if key != place.keys[0] and _is_copy(table[key], mine)]
    dropped = {key: table[key] for key in (*DROPPED, *copies) if isinstance(table.get(key), (Object, dict, list))}
    for key in dropped:
        table[key] = None
    counted = {id(storage) for storage in storages(root)}
    removed = []
    for key, value in dropped.items():
        lost = {id(found): found.source.nbytes for found in storages(value) if id(found) not in counted}
        counted.update(lost)
        why = f"a second copy of the weights: {'.'.join(place.keys)!r} was used" if key in copies else _TRAINING
        removed.append(Removed(path=str(key), reason=why, bytes=sum(lost.values())))
    return removed


def _is_copy(value: Any, names: set[str]) -> bool:
    return any(bare_names(place.pairs) == names for place in _places(value))


def bare_names(pairs: dict[Any, Any]) -> set[str]:
    """The names of a state dict's tensors without what wrappers put before them."""
    names = [name for name, node in pairs.items() if is_tensor(node)]
    cut = len(wrapper_prefix(names))
    return {name[cut:] for name in names}
