"""The parts of `plan=` that say which weights are made of others: weight norm and spectral norm."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Path = Annotated[str, Field(min_length=1, max_length=500, description="Path of a module, without prefix or `.weight`.")]
Layers = Literal["all"] | Annotated[tuple[Path, ...], Field(min_length=1, max_length=10_000)]
Dim = Annotated[int, Field(ge=-1, le=4)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Normed(Part):
    """Layers whose weight torch computes from others in each call."""

    layers: Layers = Field(default="all", description="`all` that the file has, or their paths.")
    dim: Dim | dict[Path, Dim] | None = Field(
        default=None,
        description="Along which dimension the norm has a size, where the shapes leave it open: of all or by path.",
    )

    def dim_of(self, path: str) -> int | None:
        return self.dim.get(path) if isinstance(self.dim, dict) else self.dim

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that it speaks of."""
        return (*self.named, *(self.dim if isinstance(self.dim, dict) else ()))

    @property
    def named(self) -> tuple[str, ...]:
        return () if self.layers == "all" else self.layers


NormedLayers = Layers | Normed


def normed_of(asked: NormedLayers) -> Normed:
    """The long form of what may be written in short."""
    return asked if isinstance(asked, Normed) else Normed(layers=asked)
