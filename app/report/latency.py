"""How long a run takes, before and after."""

from pydantic import Field

from app.report.part import Part


class LatencyRow(Part):
    """Medians at one batch size."""

    batch: int = Field(ge=1)
    shape: tuple[tuple[int, ...], ...] = Field(description="The shape of each input.")
    before_ms: float = Field(gt=0)
    after_ms: float = Field(gt=0)
    ratio: float = Field(gt=0, description="before / after, the median of all turns: 1.25 is a quarter faster.")
    spread: tuple[float, float] = Field(description="The ratio's lower and upper quartile over all turns.")
    repeats: int = Field(ge=1, description="Turns; in each one the models run one after the other, in turns first.")


class Latency(Part):
    """Original and written model run by the same code on the worker's device."""

    device: str
    dtype: str
    runtime: str = Field(description="What ran them, for example `torch 2.13.0` or `onnxruntime 1.23.0`.")
    threads: int = Field(ge=1)
    warmup: int = Field(ge=0, description="Runs before the first one that counts.")
    repeats: int = Field(ge=1, description="Turns at the smallest batch size.")
    rows: tuple[LatencyRow, ...]
    sentence: str = Field(description="What the figures say, also where fusing does not help.")
