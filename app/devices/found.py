"""What a look at the GPU finds, as one JSON object: a short process of its own makes it, and its worker judges it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

# What a GPU fails of so that nothing more can be computed in the process that it happened to.
Fault = Literal[
    "assert", "illegal-address", "launch-failed", "launch-timeout", "ecc", "unavailable", "other"
]  # fmt: skip


class Gpu(BaseModel):
    """One device, or one part of it (MIG), as CUDA counts those that are visible."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]
    memory: int  # bytes in all


class Computed(BaseModel):
    """A small convolution in float32, compared with the CPU's in float64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: float  # relative, as verification computes
    error_tf32: float  # the same with TF32 allowed, to see that the first would have shown it
    repeatable: bool  # twice the same bits


class Found(BaseModel):
    """The device that was asked for, as far as there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    torch: str
    cuda: str | None  # that this torch is built with; None for a build without
    archs: tuple[str, ...] = ()  # what this torch has kernels for: sm_80, compute_120
    driver: str | None = None
    visible: str | None = None  # CUDA_VISIBLE_DEVICES
    count: int = 0  # of visible devices
    gpu: Gpu | None = None
    computed: Computed | None = None
    failure: str | None = None  # what CUDA said instead
