"""A file that is no graph: weights alone, or a checkpoint with modules in it."""

from collections.abc import Callable
from pathlib import Path

from app.engine.formats import Kind, TorchFile, read_file
from app.engine.formats.detect import SAFETENSORS, SAFETENSORS_ZIP
from app.engine.ir.checkpoint import holds_model
from app.engine.ir.module import check_tables
from app.engine.weights.container import Container
from app.engine.weights.safetensors_container import safetensors_container, sharded_container
from app.engine.weights.torch_container import find_state_dict, torch_container


def open_checkpoint(source: Path, kind: Kind, look: Callable[[TorchFile], None]) -> Container | TorchFile:
    """The tensors by their names where there is no module; else the file, of which the inert tree is read.

    `look` is shown what was unpickled before anything is made of it, and may refuse it.
    """
    if kind == SAFETENSORS:
        return safetensors_container(source)
    if kind == SAFETENSORS_ZIP:
        return sharded_container(source)
    file = read_file(source)
    check_tables(file.objects)
    look(file)
    weights = None if holds_model(file.root) else find_state_dict(file.root)
    return file if weights is None else torch_container(file, weights)
