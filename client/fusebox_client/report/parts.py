"""The report of a job as frozen dataclasses, as docs/report.schema.json describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fusebox_client.from_json import read


@dataclass(frozen=True, slots=True)
class Detected:
    """What was recognised in the input."""

    family: str | None
    source: str
    model_class: str
    dtype: str
    parameters: int
    classes: int | None = None
    batch_norms: int = 0
    convolutions: int = 0
    wrappers: tuple[str, ...] = ()
    stride: int | None = None
    variant: str | None = None
    architecture: str | None = None
    prefix: str = ""
    input_size: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    filename: str
    bytes: int
    sha256: str
    format: str
    detected: Detected


@dataclass(frozen=True, slots=True)
class OutputFile:
    filename: str
    bytes: int
    sha256: str
    format: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Flat figures, of the model that is written."""

    parameters_before: int
    parameters_after: int
    batch_norms_before: int
    batch_norms_after: int
    convolutions_before: int
    convolutions_after: int
    layers_replaced: int
    layers_refused: int
    layers_removed: int
    bytes_stripped: int
    bytes_saved_by_fusing: int
    operators_before: int | None = None
    operators_after: int | None = None
    multiply_adds_before: int | None = None
    multiply_adds_after: int | None = None


@dataclass(frozen=True, slots=True)
class RegionError:
    """Largest error of one replaced region, relative to the region's output, worst channel."""

    identity: float
    native: float


@dataclass(frozen=True, slots=True)
class Replaced:
    path: str
    read_as: str
    before: tuple[str, ...]
    after: str
    parameters_before: int
    parameters_after: int
    assumed: bool
    error: RegionError | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    path: str
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class IdentityError:
    relative: float


@dataclass(frozen=True, slots=True)
class StoredError:
    relative: float
    noise: float


@dataclass(frozen=True, slots=True)
class NativeError:
    relative: float
    absolute: float
    noise: float
    dtype: str


@dataclass(frozen=True, slots=True)
class Probe:
    shape: tuple[tuple[int, ...], ...]
    seed: int
    device: str
    source: str = "seeded"


@dataclass(frozen=True, slots=True)
class Equivalence:
    """How far the outputs moved, relative, the worst of all outputs and channels."""

    scope: Literal["model", "blocks", "none"]
    identity: IdentityError
    stored: StoredError
    native: NativeError
    probe: Probe
    passed: bool
    witness: str = ""


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """Medians of one batch size."""

    batch: int
    before_ms: float
    after_ms: float
    ratio: float
    shape: tuple[tuple[int, ...], ...] = ()
    spread: tuple[float, ...] = ()
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Before and after on the worker's device, measured in turns."""

    device: str
    dtype: str
    rows: tuple[LatencyRow, ...]
    sentence: str
    runtime: str = ""
    threads: int | None = None
    warmup: int | None = None
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the model's tree; `into` names what it went into."""

    path: str
    kind: str
    text: str
    parameters: int
    fate: str
    multiply_adds: int | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class ReadAs:
    class_path: str
    read_as: str
    count: int
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    fusebox: str
    torch: str
    python: str
    device: str


@dataclass(frozen=True, slots=True)
class FuseReport:
    """All that is known of a fused file; `raw` is the JSON that it was read from."""

    schema_version: str
    summary: Summary
    input: InputFile
    output: OutputFile
    equivalence: Equivalence | None
    replaced: tuple[Replaced, ...]
    refused: tuple[Refused, ...]
    removed: tuple[Removed, ...]
    timings_seconds: dict[str, float]
    environment: Environment
    read_as: tuple[ReadAs, ...] = ()
    globals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tree: Tree | None = None
    latency: Latency | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "FuseReport":
        """A report from its JSON. Raises UnexpectedAnswer."""
        return read(cls, {**document, "raw": document}, "report")
