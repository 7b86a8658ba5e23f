"""The proof: identity, stored and native error of each unit, each beside the original's own noise, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.engine.interpret.lockstep import Proof, RegionProof
from app.engine.interpret.numeric import Read, run
from app.engine.ir.graph import Const, Graph
from app.engine.ir.tensors import StoredTensor
from app.engine.verify.compare import absolute_error, relative_error

# A correct fold stays below 1e-11; a wrong one is far above.
IDENTITY_LIMIT = 1e-9
# How many times the original's own noise the outputs may move.
NOISE_FACTOR = 4.0
_PERTURBATIONS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """All relative, the worst output and channel; `native_absolute` in the output's own unit.

    `stored_noise`: the original with every stored weight perturbed by up to half an ulp of its dtype, in float64.
    `native_noise`: the original in the native dtype, but no less than `stored_noise`: what its own storage leaves open.
    """

    identity: float
    stored: float
    stored_noise: float
    native: float
    native_absolute: float
    native_noise: float

    def worst(self, other: "Figures") -> "Figures":
        """The figures of two units together; noise is kept beside the error that is nearest to its limit."""
        mine, theirs = self._ratio(self.stored, self.stored_noise), self._ratio(other.stored, other.stored_noise)
        stored = self if mine >= theirs else other
        mine, theirs = self._ratio(self.native, self.native_noise), self._ratio(other.native, other.native_noise)
        native = self if mine >= theirs else other
        return Figures(
            max(self.identity, other.identity),
            stored.stored,
            stored.stored_noise,
            native.native,
            max(self.native_absolute, other.native_absolute),
            native.native_noise,
        )

    @staticmethod
    def _ratio(error: float, noise: float) -> float:
        return error / noise if noise > 0 else (0.0 if error == 0 else float("inf"))


def measure_written(
    before: Graph, after: Graph, proof: Proof, inputs: Sequence[Tensor], native: torch.dtype, device: str
) -> Figures:
    """The figures of one unit: `after` is the graph of the written file, read back."""
    reference = proof.outputs
    stored = relative_error(run(after, inputs, torch.float64, device), reference)
    seen = run(after, inputs, native, device)
    stored_noise = _stored_noise(before, inputs, reference, device)
    native_noise = relative_error(run(before, inputs, native, device), reference)
    return Figures(
        identity=proof.identity,
        stored=stored,
        stored_noise=stored_noise,
        native=relative_error(seen, reference),
        native_absolute=absolute_error(seen, reference),
        native_noise=max(native_noise, stored_noise),
    )


def _stored_noise(graph: Graph, inputs: Sequence[Tensor], reference: Any, device: str) -> float:
    """What half-ulp perturbations of the stored weights do to the outputs: the worst of a few seeded ones."""
    errors = []
    for seed in range(_PERTURBATIONS):
        perturbed = run(graph, inputs, torch.float64, device, _perturbed(device, seed))
        errors.append(relative_error(perturbed, reference))
    return max(errors)


def _perturbed(device: str, seed: int) -> Read:
    """Constants whose every stored number is off by up to half a unit in its last place."""
    generators: dict[tuple[int, int], int] = {}

    def read(const: Const) -> Tensor:
        if const.literal is not None:
            return const.value(torch.float64, device)
        tensors = [_jitter(source, seed, generators).to(device) for source in const.sources]
        return tensors[0] if const.compute is None else const.compute(*tensors)

    return read


def _jitter(source: StoredTensor, seed: int, numbers: dict[tuple[int, int], int]) -> Tensor:
    """The same tensor gets the same perturbation wherever it is read."""
    stored = source.read()
    if not stored.is_floating_point():
        return stored
    number = numbers.setdefault((id(source.storage), source.offset), len(numbers))
    generator = torch.Generator().manual_seed(1_000_003 * seed + number)
    noise = torch.rand(stored.shape, generator=generator, dtype=torch.float32).mul_(2).sub_(1)
    return stored.to(torch.float64) * (1 + noise.to(torch.float64) * (torch.finfo(stored.dtype).eps / 2))


def failure(figures: Figures, regions: Sequence[RegionProof], max_error: float | None) -> str | None:
    """The sentence that says which limit was passed; None if none was. Written so that NaN fails."""
    if not figures.identity <= IDENTITY_LIMIT:
        return f"identity error {figures.identity:.3g} is above {IDENTITY_LIMIT:g}"
    worst = max((region.identity for region in regions), default=0.0)
    if not worst <= IDENTITY_LIMIT:
        return f"a replaced region's identity error {worst:.3g} is above {IDENTITY_LIMIT:g}"
    if not figures.stored <= NOISE_FACTOR * figures.stored_noise:
        return f"stored error {figures.stored:.3g} is above {NOISE_FACTOR:g} times the original's noise {figures.stored_noise:.3g}"
    if not figures.native <= NOISE_FACTOR * figures.native_noise:
        return f"native error {figures.native:.3g} is above {NOISE_FACTOR:g} times the original's noise {figures.native_noise:.3g}"
    if max_error is not None and not figures.native <= max_error:
        return f"native error {figures.native:.3g} is above the caller's max_error {max_error:g}"
    return None
