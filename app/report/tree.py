"""The model layer by layer, before and after."""

from typing import Literal

from pydantic import Field

from app.report.part import Part

MAX_LAYERS = 20_000

Fate = Literal["kept", "replaced", "refused", "removed", "fused"]


class Layer(Part):
    """A module of a tree, or an operator of a graph file."""

    path: str = Field(description="Module path, empty for the model itself; of an operator the name of its output.")
    kind: str = Field(description="Its class or operator, for example `Conv2d`.")
    text: str = Field(description="The same with its sizes, for example `Conv2d(3, 16, 3x3, stride 2)`.")
    parameters: int = Field(
        ge=0, description="Its own, not those of the layers within; shared ones are counted at the first layer."
    )
    multiply_adds: int | None = Field(
        description="Its own, counted as in the summary; null where what it computes was not followed."
    )
    fate: Fate = Field(
        description="`replaced`: what it computes is in another layer now. `refused`: it could be folded in kind, and "
        "was not: the reason stands under `refused` of the report. `removed`: taken out. `fused`, in `after` only: it "
        "stands for replaced layers. `replaced` in `after` is an empty place that is kept for the code around it."
    )
    into: str | None = Field(
        default=None, description="In `before`: the path of the layer in `after` that a replaced layer went into."
    )


class Tree(Part):
    """All layers in the order of the model, a module before those within it."""

    before: tuple[Layer, ...] = Field(max_length=MAX_LAYERS)
    after: tuple[Layer, ...] = Field(max_length=MAX_LAYERS)
