"""The parts of `plan=` that say which weights are made of others: weight norm, spectral norm, low-rank adapters."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Path = Annotated[str, Field(min_length=1, max_length=500, description="Path of a module, without prefix or `.weight`.")]
Layers = Literal["all"] | Annotated[tuple[Path, ...], Field(min_length=1, max_length=10_000)]
Scaling = Annotated[float, Field(allow_inf_nan=False)]
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


class LowRank(Part):
    """Low-rank adapters beside layers, as `peft` and `loralib` name them, not merged into the weights yet."""

    scaling: Scaling | dict[Path, Scaling] = Field(
        description="What the adapter's product is multiplied by, alpha / r as a rule: of all layers or by path."
    )
    layers: Layers = Field(default="all", description="`all` that the file has, or their paths.")
    adapter: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="Which one is merged, where the file has several: the others are left out."
    )
    fan_in_fan_out: bool | None = Field(
        default=None, description="Whether square weights are (in, out), as GPT-2's are; other shapes tell it."
    )

    def scaling_of(self, path: str) -> float | None:
        return self.scaling.get(path) if isinstance(self.scaling, dict) else self.scaling

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that it speaks of."""
        return (*self.named, *(self.scaling if isinstance(self.scaling, dict) else ()))

    @property
    def named(self) -> tuple[str, ...]:
        return () if self.layers == "all" else self.layers


def normed_of(asked: NormedLayers) -> Normed:
    """The long form of what may be written in short."""
    return asked if isinstance(asked, Normed) else Normed(layers=asked)
