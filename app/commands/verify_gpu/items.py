"""The items, in their order.

Exit code: 0 if all passed, 1 if something failed, 2 if there is no GPU to try it on. What needs none is tried anyway.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.commands.verify_gpu.bench import Bench
from app.devices.choice import LARGEST_ERROR, Device, find
from app.devices.found import Computed
from app.devices.looking import look
from app.errors import DeviceUnusable
from app.sandbox.outcome import DeviceFailed, Outcome, Refused, Succeeded
from app.sandbox.supervisor import Forge
from app.settings import Settings

PASSED, FAILED, NOT_TRIED = 0, 1, 2

_RUNS = 5  # of which the throughput is told
_TOO_LITTLE = 1 << 20  # torch takes memory of a GPU in pieces of two megabytes
# Before TF32 an Ampere GPU (8.0) has nothing that could be seen.
_TF32_SINCE = (8, 0)

Result = Literal["pass", "FAIL", "not tried"]


@dataclass(frozen=True, slots=True)
class Item:
    """What was tried, and what came of it."""

    name: str
    result: Result
    figures: str


def verify_gpu(settings: Settings, model: Path | None, say: Callable[[str], None]) -> int:
    """Try all of it and say each item as it is done; the exit code."""
    items: list[Item] = []
    with tempfile.TemporaryDirectory(prefix="fusebox-verify-") as place, Forge(settings.torch_threads) as forge:
        for item in _items(Bench(forge, Path(place) / "job", settings, model), settings):
            items.append(item)
            say(f"{item.result:<9}  {item.name:<44}  {item.figures}")
    results = [item.result for item in items]
    say(", ".join(f"{results.count(kind)} {kind}" for kind in ("pass", "FAIL", "not tried")))
    if "FAIL" in results:
        return FAILED
    return NOT_TRIED if "not tried" in results else PASSED


def _items(bench: Bench, settings: Settings) -> Iterator[Item]:
    yield from _without_gpu(bench)
    untried = _NEED_GPU
    try:
        device = find(settings.device if settings.device.startswith("cuda") else "auto", look)
    except DeviceUnusable as error:
        yield Item(_NEED_GPU[0], "FAIL", f"{error.detail} {error.remedy}")
        device, untried = Device("cpu", str(error.facts["reason"])), _NEED_GPU[1:]
    if device.gpu is None or device.found is None or device.found.computed is None:
        for name in untried:
            yield Item(name, "not tried", f"there is no GPU to try it on ({device.why})")
        return
    facts = ", ".join(f"{name} {value}" for name, value in device.facts().items())
    yield Item(_NEED_GPU[0], "pass", facts)
    yield from _computed(device.found.computed, device.gpu.capability)
    yield from _jobs(bench, device)


def _without_gpu(bench: Bench) -> Iterator[Item]:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    hidden = find("auto", look)
    os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
    yield _item("CUDA_VISIBLE_DEVICES='' leaves the CPU", hidden.name == "cpu", hidden.why)
    wrong = bench.unconfined("cuda:0")
    yield _item("children with a GPU's rules are confined", not wrong, "; ".join(wrong) or "every trial was refused")
    began = time.monotonic()
    outcome = bench.fuse("cpu")
    yield _item("a confined child fuses on the CPU", outcome == Succeeded(), _proof_of(bench, outcome, began))


def _computed(found: Computed, capability: tuple[int, int]) -> Iterator[Item]:
    right, seen = found.error <= LARGEST_ERROR, capability < _TF32_SINCE or found.error_tf32 > 10 * found.error
    figures = f"error {found.error:.1e}, with TF32 it would be {found.error_tf32:.1e}"
    yield _item(_NEED_GPU[1], right and seen, figures)
    yield _item(_NEED_GPU[2], found.repeatable, "the same bits twice" if found.repeatable else "other bits each time")


def _jobs(bench: Bench, device: Device) -> Iterator[Item]:
    began = time.monotonic()
    outcome = bench.fuse(device.name, benchmark=True)
    yield _item(_NEED_GPU[3], outcome == Succeeded(), _proof_of(bench, outcome, began))
    touched = sorted(set(bench.parent_touched))
    yield _item(
        _NEED_GPU[4], not touched, ", ".join(touched) or "no device file is mapped in this process or the warm parent"
    )
    latency = bench.report().latency if outcome == Succeeded() else None
    rows = (
        []
        if latency is None
        else [f"batch {one.batch}: {one.before_ms:.3f} -> {one.after_ms:.3f} ms" for one in latency.rows]
    )
    yield _item(_NEED_GPU[5], latency is not None and latency.device == device.name, "; ".join(rows))
    small = bench.fuse(device.name, memory=_TOO_LITTLE)
    told = isinstance(small, Refused) and small.problem.code == "out-of-memory"
    after = bench.fuse(device.name)
    yield _item(_NEED_GPU[6], told and after == Succeeded(), f"{_of(small)}, then {_of(after)}")
    parent = bench.forge.pid
    failed = bench.attempt("device-assert", device.name)
    after = bench.fuse(device.name)
    survived = failed == DeviceFailed("assert") and after == Succeeded() and bench.forge.pid == parent
    yield _item(_NEED_GPU[7], survived, f"{_of(failed)}, then {_of(after)}")
    began = time.monotonic()
    done = [bench.fuse(device.name) for _ in range(_RUNS)]
    yield _item(_NEED_GPU[8], set(done) == {Succeeded()}, f"{(time.monotonic() - began) / _RUNS:.2f} s a job")


_NEED_GPU: tuple[str, ...] = (
    "a GPU that this torch supports",
    "float32 is float32: TF32 is off",
    "the same convolution twice",
    "a confined child fuses on the GPU",
    "CUDA runs in the child alone",
    "benchmark=true measures on the GPU",
    "a job has no more memory than its share",
    "a device-side assert ends the child alone",
    "throughput",
)


def _proof_of(bench: Bench, outcome: Outcome, began: float) -> str:
    if outcome != Succeeded():
        return _of(outcome)
    report = bench.report()
    found = report.equivalence
    kinds = () if found is None else (("identity", found.identity), ("stored", found.stored), ("native", found.native))
    errors = ", ".join(f"{name} {error.relative:.1e}" for name, error in kinds)
    return f"{errors}, {time.monotonic() - began:.1f} s, written file {report.output.sha256[:12]}"


def _of(outcome: Outcome) -> str:
    match outcome:
        case Refused(problem=problem):
            return f"{problem.code} ({problem.detail})"
        case DeviceFailed(fault=fault):
            return f"fault of the GPU ({fault})"
    return str(outcome)


def _item(name: str, passed: bool, figures: str) -> Item:
    return Item(name, "pass" if passed else "FAIL", figures)
