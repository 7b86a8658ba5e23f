"""What became of the model: headline figures, and what was replaced, refused and removed."""

from pydantic import Field

from app.report.part import Part


class Summary(Part):
    """Flat figures. Counts are of the model that is written (`ema` for a training checkpoint)."""

    parameters_before: int
    parameters_after: int
    batch_norms_before: int
    batch_norms_after: int
    convolutions_before: int
    convolutions_after: int
    operators_before: int | None = Field(default=None, description="Operators of a graph file; null for a module tree.")
    operators_after: int | None = None
    multiply_adds_before: int | None = Field(
        default=None,
        description="Of one run on the inputs of `equivalence.probe`: what convolutions, linear layers, norms, scales "
        "and average pools multiply. Whatever else there is (attention, activations) is the same before and after and "
        "not counted. Null where the model is not followed as a whole.",
    )
    multiply_adds_after: int | None = None
    layers_replaced: int
    layers_refused: int
    layers_removed: int
    bytes_stripped: int = Field(
        description="Tensor bytes of optimizer, duplicate models and the like that were dropped."
    )
    bytes_saved_by_fusing: int = Field(description="Tensor bytes of the model itself, before minus after.")


class RegionError(Part):
    """Largest error of one replaced region, relative to the region's output, worst channel."""

    identity: float = Field(description="In float64, before rounding.")
    native: float = Field(description="The stored weights, in the dtype that the loader runs.")


class Replaced(Part):
    path: str = Field(description="Module path of the block whose operators were replaced.")
    read_as: str = Field(description="The description by which the block was read, for example `YOLOv7 RepConv`.")
    before: tuple[str, ...] = Field(description="The operators that the one convolution replaces, in order.")
    after: str = Field(description="The operator that is left, for example `Conv2d(16, 16, 3x3)`.")
    parameters_before: int
    parameters_after: int
    assumed: bool = Field(
        description="True if the data flow is the usual one of such a block, but not proved by the file."
    )
    error: RegionError | None = Field(
        description="Null only where verification was turned off by the caller of the library."
    )


class Refused(Part):
    path: str
    code: str
    reason: str


class Removed(Part):
    path: str
    reason: str
    bytes: int


class ReadAs(Part):
    class_path: str
    read_as: str
    count: int
    assumed: bool = Field(
        default=False,
        description="True if the class lies under another module path than the authors', and its name and members "
        "decided.",
    )
