"""The caller's arrays as the inputs of a model: by name, with the ranks, sizes and dtypes that the model takes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from app.engine.interpret.numeric import run
from app.engine.ir.graph import Graph
from app.engine.ir.program import Port
from app.engine.layers.multiply_adds import of_node
from app.engine.probes.invalid import invalid_probe
from app.engine.probes.npy import MAX_NUMBERS
from app.engine.probes.read import Given

# Of one run: the proof takes about ten, most of them in float64, which is some ten minutes on one core.
MAX_MULTIPLY_ADDS = 1 << 39
_SHOWN = 8
_REMEDY = "Give inputs as your own code gives them to the model: sizes that are multiples of its stride, for example."


def fitted(given: Given, ports: Sequence[Port]) -> tuple[Tensor, ...]:
    """One tensor for each input, in the input's own dtype. Raises InvalidProbe."""
    named = _by_name(given, ports)
    total = sum(tensor.numel() for tensor in named.values())
    if total > MAX_NUMBERS:
        raise invalid_probe(f"has {total:,} numbers, the limit is {MAX_NUMBERS:,}", "Give fewer inputs.")
    sizes: dict[str, int] = {}
    return tuple(_fit(named[port.name], port, sizes) for port in ports)


def shapes_of(inputs: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """Their shapes."""
    return tuple(tuple(tensor.shape) for tensor in inputs)


def check_runs(graph: Graph, inputs: Sequence[Tensor], device: str) -> None:
    """Raises InvalidProbe where the model can't be run on them: sizes that do not fit, an index out of a table."""
    _check_work(graph)
    try:
        run(graph, inputs, torch.float32, device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError, ValueError) as error:
        if "memory" in str(error):
            raise
        said = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise invalid_probe(f"is nothing that the model can be run on: {said}", _REMEDY) from None


def _check_work(graph: Graph) -> None:
    """Before the work and not at the job's time limit: what is traced at the probe's sizes tells its price."""
    work = sum(map(of_node, graph.nodes))
    if work > MAX_MULTIPLY_ADDS:
        raise invalid_probe(
            f"takes {work:.2g} multiply-adds for each of the comparison's runs, the limit is {MAX_MULTIPLY_ADDS:.2g}",
            f"Give fewer inputs, {MAX_MULTIPLY_ADDS / work:.1%} of these: a handful tells as much.",
        )


def _by_name(given: Given, ports: Sequence[Port]) -> Mapping[str, Tensor]:
    """One array is the only input, whatever its name; those that numpy.savez numbered are the inputs in their order."""
    names = [port.name for port in ports]
    if set(given) == set(names):
        return given
    if len(given) == len(names) == 1:
        return {names[0]: next(iter(given.values()))}
    numbered = [f"arr_{number}" for number in range(len(names))]
    if set(given) == set(numbered):
        return {name: given[number] for name, number in zip(names, numbered, strict=True)}
    raise invalid_probe(
        f"holds {_listed(given) or 'an array without a name'}, and the model's inputs are {_listed(names) or 'none'}",
        "Save the arrays under these names: numpy.savez('inputs.npz', name=array, ...).",
    )


def _listed(names: Sequence[str] | Given) -> str:
    shown = [repr(name[:60]) for name in list(names)[:_SHOWN] if name]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")


def _fit(tensor: Tensor, port: Port, sizes: dict[str, int]) -> Tensor:
    _check_sizes(tensor, port, sizes)
    if _kind(tensor.dtype) != _kind(port.dtype):
        raise invalid_probe(
            f"gives {_name(tensor.dtype)} for the input {port.name[:60]!r}, which takes {_name(port.dtype)}",
            "Convert it as your own code does before it calls the model: pictures are scaled to float32, for example.",
        )
    cast = tensor.to(port.dtype)
    exact = bool(torch.isfinite(cast).all()) if cast.is_floating_point() else torch.equal(cast.to(tensor.dtype), tensor)
    if not exact:
        raise invalid_probe(f"has numbers for the input {port.name[:60]!r} that {_name(port.dtype)} can't hold")
    return cast.to(torch.float64) if cast.is_floating_point() else cast


def _check_sizes(tensor: Tensor, port: Port, sizes: dict[str, int]) -> None:
    """Fixed dimensions as they are; one that has a name is the same wherever the name stands."""
    shape, dims = tuple(tensor.shape), port.dims
    if dims is None:
        return
    fits = len(shape) == len(dims) and all(
        size == (dim if isinstance(dim, int) else sizes.setdefault(dim, size) if isinstance(dim, str) else size)
        for size, dim in zip(shape, dims, strict=True)
    )
    if not fits:
        wanted = "x".join("?" if dim is None else str(dim) for dim in dims) or "of one number"
        raise invalid_probe(
            f"has the shape {'x'.join(map(str, shape)) or 'of one number'} for the input {port.name[:60]!r}, "
            f"which is {wanted}",
            _how_to_fit(shape, dims),
        )


def _how_to_fit(shape: tuple[int, ...], dims: Sequence[int | str | None]) -> str:
    """What is most likely wrong with a shape."""
    if len(shape) + 1 == len(dims):
        return "Give it as the model is called, with the batch dimension: x[None] adds one."
    if len(shape) == len(dims) > 2 and shape[1] != dims[1] == shape[-1]:
        return "Channels come before height and width: numpy.moveaxis(x, -1, 1)."
    return "Give it as the model is called: sizes that stand as numbers are fixed, also that of the batch."


def _kind(dtype: torch.dtype) -> str:
    return "float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "integer"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
