"""What was read of a file of weights."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.engine.fuse.census import Census, count
from app.engine.ir.checkpoint import total_bytes
from app.engine.weights.blueprint import Blueprint
from app.engine.weights.container import Container


@dataclass(frozen=True, slots=True)
class WeightsJob:
    """The file, the model around its tensors, and what that counted before anything changed."""

    container: Container
    prefix: str
    blueprint: Blueprint
    architecture: str | None  # as the caller wrote it
    census: Census
    model_bytes: int

    def restored(self, name: str) -> str:
        """A name of the blueprint as the file has it: one that had no prefix gets none."""
        return self.prefix + name if self.prefix + name in self.container.tensors else name

    def names(self) -> Iterable[str]:
        """What the file holds of the model, in its order: without what inference never reads, and named anew then."""
        reduction = self.blueprint.reduction
        if reduction is None:
            return self.container.tensors
        return [*(self.prefix + name for name in reduction.names), *map(self.restored, self.blueprint.loose)]


def job_of(container: Container, prefix: str, blueprint: Blueprint, architecture: str | None) -> WeightsJob:
    size = total_bytes(list(container.tensors.values()))
    census = count(blueprint.module) if blueprint.reduction is None else blueprint.reduction.census
    return WeightsJob(container, prefix, blueprint, architecture, census, size)
