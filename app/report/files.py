"""The files of a job, and what was recognised in the one that came."""

from pathlib import PurePath

from pydantic import Field

from app.report.part import Part


def fused_filename(filename: str) -> str:
    """`yolov7.pt` -> `yolov7.fused.pt`; only the last component counts."""
    name = PurePath(filename.replace("\\", "/")).name or "model"
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.fused.{suffix}" if dot and stem else f"{name}.fused"


class Detected(Part):
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


class InputFile(Part):
    filename: str
    bytes: int = Field(ge=0)
    sha256: str
    format: str
    detected: Detected


class OutputFile(Part):
    filename: str
    bytes: int = Field(ge=0)
    sha256: str
    format: str
