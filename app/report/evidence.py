"""How far the outputs moved, and where that was measured."""

from typing import Literal

from pydantic import Field

from app.report.part import Part


class IdentityError(Part):
    relative: float


class StoredError(Part):
    relative: float
    noise: float = Field(description="What half-ulp perturbations of the original's stored weights do to its outputs.")


class NativeError(Part):
    relative: float
    absolute: float
    noise: float = Field(description="The original in this dtype against itself in float64.")
    dtype: str


class Probe(Part):
    shape: tuple[tuple[int, ...], ...]
    seed: int = Field(description="Of the random numbers; without meaning where the caller gave the inputs.")
    device: str
    source: Literal["seeded", "caller"] = Field(default="seeded", description="Where the inputs came from.")


class Equivalence(Part):
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


class Environment(Part):
    fusebox: str
    torch: str
    python: str
    device: str
