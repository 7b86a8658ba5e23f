"""The report of a fuse job: what was replaced, refused and removed, what it saved, how far the outputs moved."""

from pydantic import Field

from app.report.changes import ReadAs, Refused, RegionError, Removed, Replaced, Summary
from app.report.evidence import Environment, Equivalence, IdentityError, NativeError, Probe, StoredError
from app.report.files import Detected, InputFile, OutputFile, Recognised, fused_filename
from app.report.latency import Latency, LatencyRow
from app.report.part import Part
from app.report.tree import MAX_LAYERS, Fate, Layer, Tree

__all__ = [
    "MAX_LAYERS",
    "Detected",
    "Environment",
    "Equivalence",
    "Fate",
    "IdentityError",
    "InputFile",
    "Inspection",
    "Latency",
    "LatencyRow",
    "Layer",
    "NativeError",
    "OutputFile",
    "Probe",
    "ReadAs",
    "Recognised",
    "Refused",
    "RegionError",
    "Removed",
    "Replaced",
    "Report",
    "StoredError",
    "Summary",
    "Tree",
    "fused_filename",
]

SCHEMA_VERSION = "1.1"


class Report(Part):
    schema_version: str = SCHEMA_VERSION
    summary: Summary
    input: InputFile
    output: OutputFile
    equivalence: Equivalence | None
    latency: Latency | None = Field(default=None, description="Only where it was asked for and could be measured.")
    tree: Tree | None = Field(default=None, description="Null for a model of more layers than a report can hold.")
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


class Inspection(Part):
    """What `inspect` says about a file before anything is fused."""

    schema_version: str = SCHEMA_VERSION
    input: InputFile
    read_as: tuple[ReadAs, ...]
    globals: tuple[str, ...] = Field(description="Every global that the file names, `module.name`.")
    unsafe_globals: tuple[str, ...] = Field(
        default=(), description="Those of them for which the file would not be fused."
    )
    notes: tuple[str, ...] = ()
