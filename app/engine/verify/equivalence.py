"""The proof: identity, stored and native error of each unit, each beside the original's own noise, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from app.engine.interpret.lockstep import Fused, Proof, RegionProof, prove
from app.engine.interpret.numeric import Read, run
from app.engine.ir import graph as ir
from app.engine.ir.graph import Const, Graph
from app.engine.ir.tensors import StoredTensor
from app.engine.verify.compare import absolute_error, relative_error, tensors

# A correct fold stays below 1e-11; a wrong one is far above.
IDENTITY_LIMIT = 1e-9
# How many times the original's own noise the outputs may move.
NOISE_FACTOR = 4.0
# No comparison in float64 is finer: below it lies the order of the additions.
RESOLUTION = 1e-11
# One convolution adds in another order than the parts it replaces, and starts from the bias: up to a few dozen ulps
# of the float32 in which every dtype up to float32 is summed. Deep models make more noise than this of their own.
ACCUMULATION = 32 * 2.0**-23
_PERTURBATIONS = 3

See = Callable[[Sequence[Tensor]], Any]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The original unit: its inputs, its outputs in float64, and how far it lies from them in the native dtype."""

    graph: Graph
    inputs: Sequence[Tensor]
    proof: Proof
    native_noise: float

    @property
    def finite(self) -> bool:
        """Whether the native dtype holds what the original computes: fp16 may overflow on inputs made up here."""
        return isfinite(self.native_noise) and all(isfinite(region.native) for region in self.proof.regions)


@dataclass(frozen=True, slots=True)
class Figures:
    """All relative, the worst output and channel; `native_absolute` in the output's own unit.

    `stored_noise`: the original with every stored weight perturbed by up to half an ulp of its dtype, in float64.
    `native_noise`: the original in the native dtype, but no less than `stored_noise`: what its own storage leaves open.
    Where that explains too little, the worst of a few such runs with perturbed weights too.
    """

    identity: float
    stored: float
    stored_noise: float
    native: float
    native_absolute: float
    native_noise: float

    def worst(self, other: "Figures") -> "Figures":
        """The figures of two units together; noise is kept beside the error that is nearest to its limit."""
        stored = max(other, self, key=_stored_share)
        native = max(other, self, key=_native_share)
        return replace(
            native,
            identity=max(self.identity, other.identity),
            stored=stored.stored,
            stored_noise=stored.stored_noise,
            native_absolute=max(self.native_absolute, other.native_absolute),
        )


def measure_original(
    graph: Graph,
    fused: Sequence[Fused],
    inputs: Sequence[Tensor],
    native: torch.dtype,
    device: str,
    see: See | None = None,
    original: Graph | None = None,
) -> Baseline:
    """Prove each region of the unit in lockstep, and measure the original's own noise.

    `see` gives the outputs that the loader's runtime computes; by default the numeric reading in the native dtype.
    `original` is what the outputs are held to, where `graph` is not the original itself but the same rearranged.
    """
    proof = prove(graph, fused, inputs, native, device, original)
    graph = original or graph
    seen = see(inputs) if see else run(graph, inputs, native, device)
    return Baseline(graph, inputs, proof, relative_error(seen, proof.outputs))


def measure_written(
    before: Baseline, after: Graph, native: torch.dtype, device: str, see: See | None = None
) -> Figures:
    """The figures of one unit: `after` is the graph of the written file, read back; `see` runs that file."""
    reference = before.proof.outputs
    seen = see(before.inputs) if see else run(after, before.inputs, native, device)
    stored_noise = _noise(before.graph, before.inputs, reference, torch.float64, device)
    figures = Figures(
        identity=before.proof.identity,
        stored=relative_error(run(after, before.inputs, torch.float64, device), reference),
        stored_noise=stored_noise,
        native=relative_error(seen, reference),
        native_absolute=absolute_error(seen, reference),
        native_noise=max(before.native_noise, stored_noise),
    )
    if _native_share(figures) <= 1:
        return figures
    # One run may be a lucky one, above all of a model that amplifies every rounding.
    more = _noise(before.graph, before.inputs, reference, native, device)
    return replace(figures, native_noise=max(figures.native_noise, more))


def measure_elsewhere(before: Graph, after: Graph, inputs: Sequence[Tensor], device: str) -> str | None:
    """Original and written file in float64 on inputs of other sizes: the sentence that says which limit was passed."""
    reference = run(before, inputs, torch.float64, device)
    error = relative_error(run(after, inputs, torch.float64, device), reference)
    noise = _noise(before, inputs, reference, torch.float64, device)
    if _share(error, noise, RESOLUTION) <= 1:
        return None
    sizes = ", ".join("x".join(map(str, tensor.shape)) for tensor in inputs)
    return (
        f"stored error {error:.3g} on inputs of {sizes} is above {NOISE_FACTOR:g} times the original's own {noise:.3g}"
    )


def _noise(graph: Graph, inputs: Sequence[Tensor], reference: Any, dtype: torch.dtype, device: str) -> float:
    """What half-ulp perturbations of the stored weights do to the outputs in `dtype`: the worst of a few seeded ones.

    An output that is zero throughout has no size to which its noise could be relative: it says nothing of the others.
    """
    telling = [number for number, wanted in enumerate(tensors(reference)) if bool(wanted.any())]
    wanted = _at(telling, reference)
    written = _written_numbers(graph)
    errors = []
    for seed in range(_PERTURBATIONS):
        perturbed = run(graph, inputs, dtype, device, _perturbed(dtype, device, seed, written))
        errors.append(relative_error(_at(telling, perturbed), wanted))
    return max(errors)


def _at(places: Sequence[int], nest: Any) -> list[Tensor]:
    flat = list(tensors(nest))
    return [flat[place] for place in places]


def _written_numbers(graph: Graph) -> Mapping[int, torch.dtype]:
    """Factors and offsets that no tensor of the file holds, by id, with the dtype of the value that each one meets.

    A number in the model's code is rounded to that dtype when it is computed with, and again where it is folded.
    """
    linear = [node for node in graph.nodes if isinstance(node.operation, (ir.Scale, ir.Shift))]
    return {id(const): node.output.dtype for node in linear for const in node.consts() if const.literal is not None}


def _perturbed(dtype: torch.dtype, device: str, seed: int, written: Mapping[int, torch.dtype]) -> Read:
    """Constants, in `dtype`, whose every stored number is off by up to half a unit in its last place."""
    exact = _perturbed_exactly(device, seed, written)

    def read(const: Const) -> Tensor:
        value = exact(const)
        return value.to(dtype) if value.is_floating_point() else value

    return read


def _perturbed_exactly(device: str, seed: int, written: Mapping[int, torch.dtype]) -> Read:
    """The same in float64, before they are rounded again."""
    numbers: dict[tuple[int, int], int] = {}

    def read(const: Const) -> Tensor:
        if const.literal is not None:
            dtype = written.get(id(const))
            if dtype is None or not const.literal.is_floating_point():
                return const.value(torch.float64, device)
            number = numbers.setdefault((id(const), 0), len(numbers))
            return _jitter(const.literal, dtype, seed, number).to(device)
        noisy = [_of_source(source, seed, numbers).to(device) for source in const.sources]
        return noisy[0] if const.compute is None else const.compute(*noisy)

    return read


def _of_source(source: StoredTensor, seed: int, numbers: dict[tuple[int, int], int]) -> Tensor:
    """The same tensor gets the same perturbation wherever it is read."""
    stored = source.read()
    if not stored.is_floating_point():
        return stored
    number = numbers.setdefault((id(source.storage), source.offset), len(numbers))
    return _jitter(stored, stored.dtype, seed, number)


def _jitter(stored: Tensor, dtype: torch.dtype, seed: int, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(1_000_003 * seed + number)
    noise = torch.rand(stored.shape, generator=generator, dtype=torch.float32).mul_(2).sub_(1).to(torch.float64)
    limits, exact = torch.finfo(dtype), stored.to(torch.float64)
    noise.mul_(exact.abs().clamp_min(limits.tiny)).mul_(limits.eps / 2).add_(exact)
    return torch.where(exact.isfinite(), noise, exact)  # an infinite variance, which training in fp16 leaves, is exact


def _stored_share(figures: Figures) -> float:
    return _share(figures.stored, figures.stored_noise, RESOLUTION)


def _native_share(figures: Figures) -> float:
    return _share(figures.native, figures.native_noise, ACCUMULATION)


def _share(error: float, noise: float, least: float) -> float:
    """How much of its limit an error takes up; NaN and an infinite noise take more than all of it, no error nothing."""
    if error == 0:
        return 0.0
    return error / max(NOISE_FACTOR * noise, least) if isfinite(noise) and error == error else inf


def failure(figures: Figures, regions: Sequence[RegionProof], max_error: float | None) -> str | None:
    """The sentence that says which limit was passed; None if none was. Written so that NaN and infinity fail."""
    if not figures.identity <= IDENTITY_LIMIT:
        return f"identity error {figures.identity:.3g} is above {IDENTITY_LIMIT:g}"
    return _region_failure(regions) or _unit_failure(figures, max_error)


def _region_failure(regions: Sequence[RegionProof]) -> str | None:
    for region in regions:
        if not region.identity <= IDENTITY_LIMIT:
            return f"a replaced region's identity error {region.identity:.3g} is above {IDENTITY_LIMIT:g}"
        if not region.rounding <= 1:
            return (
                f"a replaced region's stored numbers are {region.rounding:.3g} times further off than rounding explains"
            )
        if not isfinite(region.native):
            return "a replaced region's output is not finite in the dtype that the loader runs"
    return None


def _unit_failure(figures: Figures, max_error: float | None) -> str | None:
    for name, share, error, noise in (
        ("stored", _stored_share(figures), figures.stored, figures.stored_noise),
        ("native", _native_share(figures), figures.native, figures.native_noise),
    ):
        if not share <= 1:
            return f"{name} error {error:.3g} is above {NOISE_FACTOR:g} times the original's own noise {noise:.3g}"
    if max_error is not None and not figures.native <= max_error:
        return f"native error {figures.native:.3g} is above the caller's max_error {max_error:g}"
    return None
