"""The report of a fuse job: what was replaced, refused and removed, what it saved, how far the outputs moved."""

from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = "1.0"


def fused_filename(filename: str) -> str:
    """`yolov7.pt` -> `yolov7.fused.pt`; only the last component counts."""
    name = PurePath(filename.replace("\\", "/")).name or "model"
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.fused.{suffix}" if dot and stem else f"{name}.fused"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Detected(_Part):
    """What was recognised in the input."""

    family: str | None = Field(description="Code base and kind of model, for example `YOLOv7`; null when not known.")
    source: str = Field(
        description="Where in the file the model was found, for example `ema`; empty for a bare module."
    )
    model_class: str = Field(description="Class path of the model as the file names it.")
    classes: int | None = Field(default=None, description="Number of classes, where the model says it.")
    dtype: str = Field(description="Storage dtype of most of the parameters.")
    parameters: int = Field(ge=0)
    batch_norms: int = Field(default=0, ge=0)
    convolutions: int = Field(default=0, ge=0)
    wrappers: tuple[str, ...] = Field(default=(), description="Wrapper classes looked through, outermost first.")
    stride: int | None = Field(default=None, description="Largest stride of the network, where the model says it.")
    variant: str | None = Field(default=None, description="Which model of the family, where that is known.")
    architecture: str | None = Field(default=None, description="What the caller said the weights of a file belong to.")
    prefix: str = Field(default="", description="What all names of a state dict begin with, `module.` for example.")
    input_size: tuple[int, ...] | None = Field(default=None, description="Sizes of one input, where they are known.")


class Recognised(Detected):
    """What a job tells of its file before anything is fused."""

    format: str


class InputFile(_Part):
    filename: str
    bytes: int = Field(ge=0)
    sha256: str
    format: str
    detected: Detected


class OutputFile(_Part):
    filename: str
    bytes: int = Field(ge=0)
    sha256: str
    format: str


class Summary(_Part):
    """Flat figures. Counts are of the model that is written (`ema` for a training checkpoint)."""

    parameters_before: int
    parameters_after: int
    batch_norms_before: int
    batch_norms_after: int
    convolutions_before: int
    convolutions_after: int
    operators_before: int | None = Field(default=None, description="Operators of a graph file; null for a module tree.")
    operators_after: int | None = None
    layers_replaced: int
    layers_refused: int
    layers_removed: int
    bytes_stripped: int = Field(
        description="Tensor bytes of optimizer, duplicate models and the like that were dropped."
    )
    bytes_saved_by_fusing: int = Field(description="Tensor bytes of the model itself, before minus after.")


class RegionError(_Part):
    """Largest error of one replaced region, relative to the region's output, worst channel."""

    identity: float = Field(description="In float64, before rounding.")
    native: float = Field(description="The stored weights, in the dtype that the loader runs.")


class Replaced(_Part):
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


class Refused(_Part):
    path: str
    code: str
    reason: str


class Removed(_Part):
    path: str
    reason: str
    bytes: int


class IdentityError(_Part):
    relative: float


class StoredError(_Part):
    relative: float
    noise: float = Field(description="What half-ulp perturbations of the original's stored weights do to its outputs.")


class NativeError(_Part):
    relative: float
    absolute: float
    noise: float = Field(description="The original in this dtype against itself in float64.")
    dtype: str


class Probe(_Part):
    shape: tuple[tuple[int, ...], ...]
    seed: int
    device: str


class Equivalence(_Part):
    """How far the outputs moved. Relative figures are per output and channel, the worst of all."""

    scope: Literal["model", "blocks", "none"] = Field(
        description="`model`: end to end. `blocks`: per replaced block, as the outer class is not known. "
        "`none`: nothing was replaced, nothing to compare."
    )
    identity: IdentityError
    stored: StoredError
    native: NativeError
    probe: Probe
    passed: bool
    witness: str = Field(
        default="",
        description="Whose code ran original and written weights beside our own readings (`timm 1.0.31`), or why it "
        "could not; empty where the code is not at hand.",
    )


class Environment(_Part):
    fusebox: str
    torch: str
    python: str
    device: str


class ReadAs(_Part):
    class_path: str
    read_as: str
    count: int
    assumed: bool = Field(
        default=False,
        description="True if the class lies under another module path than the authors', and its name and members "
        "decided.",
    )


class Report(_Part):
    schema_version: str = SCHEMA_VERSION
    summary: Summary
    input: InputFile
    output: OutputFile
    equivalence: Equivalence | None
    replaced: tuple[Replaced, ...]
    refused: tuple[Refused, ...]
    removed: tuple[Removed, ...]
    read_as: tuple[ReadAs, ...] = Field(
        default=(), description="Each class of the file and the description it was read by."
    )
    globals: tuple[str, ...] = Field(
        default=(), description="Every global that the pickle in the input names, `module.name`, sorted."
    )
    notes: tuple[str, ...] = Field(
        default=(), description="Sentences a user should read, for example `nothing to replace`."
    )
    timings_seconds: dict[str, float]
    environment: Environment


class Inspection(_Part):
    """What `inspect` says about a file before anything is fused."""

    schema_version: str = SCHEMA_VERSION
    input: InputFile
    read_as: tuple[ReadAs, ...]
    globals: tuple[str, ...] = Field(description="Every global that the file names, `module.name`.")
    unsafe_globals: tuple[str, ...] = Field(
        default=(), description="Those of them for which the file would not be fused."
    )
    notes: tuple[str, ...] = ()
