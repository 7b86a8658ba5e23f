"""What is in a checkpoint: where the model stands, what wraps it, and what a deployed file does without."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.engine.ir.module import Module, class_of, is_module, mapping
from app.engine.ir.node import MISSING, Global, Object, Storage
from app.engine.ir.tensors import is_tensor
from app.errors import NeedsArchitecture, NothingToFuse
from app.report import Removed

# Where training scripts keep the model, the best first.
_KEYS = ("ema", "model_ema", "ema_model", "model", "net", "network", "module", "state_dict", "generator", "backbone")
_WEIGHTS = (*_KEYS, "params_ema", "params", "model_state_dict", "weights")
_AVERAGES = ("ema", "model_ema", "ema_model")
_HELD = ("ema", "ema_model", "module", "model", "averaged_model", "shadow")  # where an object keeps its model
DROPPED = (
    *("optimizer", "optimizers", "optim", "optimizer_state", "optimizer_states", "optimizer_state_dict"),
    *("scaler", "grad_scaler", "amp_scaler", "scaler_state_dict", "amp"),
)
_DUPLICATES = ("ema", "model_ema", "ema_model", "model")
_HOLDERS = (Object, Storage, dict, list, tuple, set, frozenset)

# Classes that hold one model and add nothing to what it computes, and the child that it is.
_WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "models.experimental.Ensemble": "0",
    "timm.utils.model_ema.ModelEmaV2": "module",
}
_COMPILED = Global("torch._dynamo.eval_frame", "OptimizedModule")
_MAX_WRAPPERS = 16


@dataclass(frozen=True, slots=True)
class Found:
    """The model of a file. `key` is where its top-level dictionary has it, empty for a bare module.

    `outer` is the model with its wrappers.
    """

    module: Module
    key: str
    wrappers: tuple[str, ...]
    outer: Object


def holds_model(root: Any) -> bool:
    """Whether `find_model` would find one."""
    return _found(root) is not None


def find_model(root: Any) -> Found:
    """Where the model is; `ema` before `model`, wrappers looked through.

    Raises NeedsArchitecture for a state dict and NothingToFuse where no module is found.
    """
    found = _found(root)
    if found is not None:
        return found
    table = mapping(root)
    if table is None:
        raise NothingToFuse(
            f"the file holds {_kind(root)}, neither a module nor a dictionary with one",
            remedy="save the whole model: torch.save(model, 'model.pt') or torch.save({'model': model}, 'model.pt')",
        )
    where = _state_dict_at(table)
    if where is not None:
        raise NeedsArchitecture(
            f"the file holds a state dict ({where}): names and weights, but neither the layers' eps nor the data flow",
            remedy="upload the whole model instead: torch.save({'model': model}, 'model.pt')",
        )
    named = ", ".join(repr(key) for key in list(table)[:12]) or "none"
    raise NothingToFuse(
        f"the file holds a dictionary without a module in it (keys: {named})",
        remedy="save the whole model under 'model': torch.save({'model': model}, 'model.pt')",
    )


def _found(root: Any) -> Found | None:
    if _is_model(root):
        return _unwrapped(root, "")
    table = mapping(root)
    if table is None:
        return None
    keys = [*_KEYS, *(key for key in table if isinstance(key, str) and key not in _KEYS)]
    for key in keys:
        model = _held(table.get(key)) if key in _AVERAGES else table.get(key)
        if isinstance(model, Object) and _is_model(model):
            return _unwrapped(model, key)
    for key in keys:
        if (model := _held(table.get(key))) is not None:
            return _unwrapped(model, key)
    return None


def _held(value: Any) -> Object | None:
    """The model that a value is, or that an object or a dictionary holds: what averages weights keeps them so."""
    if isinstance(value, Object) and _is_model(value):
        return value
    inside = value.state if isinstance(value, Object) and isinstance(value.state, dict) else mapping(value)
    return next((inside[name] for name in _HELD if _is_model(inside.get(name))), None) if inside else None


def _is_model(node: Any) -> bool:
    while (compiled := _compiled(node)) is not None:
        node = compiled
    return is_module(node)


def _compiled(node: Any) -> Any:
    """What an OptimizedModule wraps where a newer torch wrote it, as a call with the model first; else None."""
    call = isinstance(node, Object) and node.how == "reduce" and node.origin == _COMPILED and node.args
    return node.args[0] if call else None


def _unwrapped(node: Object, key: str) -> Found:
    wrappers: list[str] = []
    outer = node
    while not is_module(node) or len(wrappers) < _MAX_WRAPPERS:
        inner = _wrapped(node)
        if inner is None:
            break
        wrappers.append(Module(node).class_path if is_module(node) else _COMPILED.path)
        node = inner
    return Found(Module(node), key, tuple(wrappers), outer)


def _wrapped(node: Object) -> Object | None:
    """The one model that a wrapper holds; None where the node is none."""
    if not is_module(node):
        inner = _compiled(node)
    else:
        module = Module(node)
        children = {name: child for name, child in module.table("_modules").items() if child is not None}
        inner = children.get(_WRAPPERS.get(module.class_path, "")) if len(children) == 1 else None
    return inner if _is_model(inner) else None


def _state_dict_at(table: dict[Any, Any]) -> str | None:
    if is_state_dict(table):
        return f"{len(table)} tensors"
    for key in (*_WEIGHTS, *table):
        inner = mapping(table.get(key))
        if inner is not None and is_state_dict(inner):
            return f"{len(inner)} tensors under {key!r}"
    return None


def is_state_dict(table: dict[Any, Any]) -> bool:
    """Whether most of a dictionary is tensors by their names."""
    tensors = sum(1 for value in table.values() if is_tensor(value))
    return tensors > 0 and 2 * tensors >= len(table) and all(isinstance(key, str) for key in table)


def _kind(root: Any) -> str:
    if is_tensor(root):
        return "a single tensor"
    if not isinstance(root, Object):
        return f"a {type(root).__name__}"
    name = class_of(root) or root.origin
    return f"an object of class {name.path}" if isinstance(name, Global) else "an object of an unknown class"


def strip(root: Any, found: Found) -> list[Removed]:
    """Leave of a training checkpoint what inference needs, in place, as the code bases' own strip steps do.

    The model moves under `model`; `ema`, optimizer and gradient scaler become None; all else is kept. To be called
    before anything is fused: a storage counts as removed if the unfused model does not have it.
    """
    table = mapping(root)
    if not found.key or table is None:
        return []
    moves = found.key in _DUPLICATES
    holder = found.outer if found.key in _AVERAGES else table[found.key]
    dropped = {key: table[key] for key in (*DROPPED, *_DUPLICATES) if key != found.key and _goes(key, table, moves)}
    for key in dropped:
        table[key] = None
    if moves:
        table[found.key] = None
        table["model"] = holder
    counted = {id(storage) for storage in storages(root)}
    return [
        Removed(path=key, reason=_why(key, value, found.key), bytes=_uncounted(value, counted))
        for key, value in dropped.items()
    ]


def _goes(key: str, table: dict[Any, Any], moves: bool) -> bool:
    """Whether what a key holds is dropped: what has its name, but says nothing of weights, is kept where it can be."""
    value = table.get(key)
    if value is None or (key == "model" and moves):
        return value is not None
    return _holds_tensors(value) if key in _DUPLICATES else not isinstance(value, (bool, int, float, str))


def _holds_tensors(value: Any) -> bool:
    return next(storages(value), None) is not None


def _why(key: str, value: Any, source: str) -> str:
    if key not in _DUPLICATES:
        return "training state that inference does not read"
    if _is_model(value):
        return f"a second copy of the model: {source!r} was used"
    if _holds_tensors(value):
        return f"weights without a module that can be read: the model under {source!r} was used"
    return f"the model of {source!r} stands in its place"


def _uncounted(node: Any, counted: set[int]) -> int:
    """Bytes of the storages below a node that were not counted before; they are then."""
    found = [storage for storage in storages(node) if id(storage) not in counted]
    counted.update(id(storage) for storage in found)
    return sum(storage.source.nbytes for storage in found)


def total_bytes(node: Any) -> int:
    """Bytes of all storages below a node, each once."""
    return sum(storage.source.nbytes for storage in storages(node))


def storages(node: Any) -> Iterator[Storage]:
    """All storages that a node refers to, each once, in order of first reference."""
    for part in parts(node):
        if isinstance(part, Storage):
            yield part


def parts(node: Any) -> Iterator[Any]:
    """Every inert node and container (but empty ones) from `node` on, each once, in order of first reference."""
    return (part for part, _ in holdings(node))


def holdings(node: Any, tensors: bool = True) -> Iterator[tuple[Any, list[Any]]]:
    """As `parts`, each with what it holds. Without `tensors` they are not entered, which most nodes are in."""
    seen: set[int] = set()
    stack = [node] if isinstance(node, _HOLDERS) else []
    while stack:
        part = stack.pop()
        if id(part) not in seen:
            seen.add(id(part))
            held = inside(part)
            yield part, held
            inner = [one for one in reversed(held) if isinstance(one, _HOLDERS) and not _is_empty(one)]
            stack.extend(inner if tensors else (one for one in inner if not is_tensor(one)))


def _is_empty(part: Any) -> bool:
    """A container without content, or a call that makes one: most tables of a module are."""
    if not isinstance(part, Object):
        return not part
    held = part.args or part.kwargs or part.pairs or part.items
    return not held and part.state is MISSING and isinstance(part.origin, Global)


def inside(part: Any) -> list[Any]:
    """What a container or an inert node holds directly."""
    if isinstance(part, Object):
        inner: list[Any] = [part.origin, part.args, part.kwargs, part.pairs, part.items]
        return inner if part.state is MISSING else [*inner, part.setter, part.state]
    if isinstance(part, dict):
        return [*part.keys(), *part.values()]
    return [] if isinstance(part, Storage) else list(part)
