"""The figures of one result: is it valid, how far did its outputs move, how much faster does it run."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from bench.graphs.evaluate import evaluate
from bench.graphs.widen import widen

Array = np.ndarray[Any, Any]
ROUNDS = 15
SECONDS = 6.0  # of interleaved runs for all tools on one model
_FLOOR = 1e-5  # a channel that is this much smaller than its output is measured against the output


def session(path: Path, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def example(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


def check(path: Path, standard: bool) -> None:
    """Raises unless the checker passes, where it knows the operators, and onnxruntime loads the file."""
    if standard:
        onnx.checker.check_model(str(path), full_check=True)
    session(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)


def run_native(path: Path, shape: tuple[int, ...]) -> list[Array]:
    """In float32, by onnxruntime without any optimisation."""
    plain = session(path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return list(plain.run(None, {plain.get_inputs()[0].name: example(shape).astype(np.float32)}))


def run_double(path: Path, shape: tuple[int, ...]) -> list[Array]:
    """The file's weights, in float64."""
    return evaluate(widen(onnx.load(path)), example(shape))


def relative_error(result: list[Array], reference: list[Array]) -> float:
    """The largest error of any output and channel, relative to the channel's largest value."""
    if len(result) != len(reference):
        return float("inf")
    return max(_relative(*pair) for pair in zip(result, reference, strict=True))


def _relative(result: Array, reference: Array) -> float:
    if result.shape != reference.shape or not np.isfinite(result).all():
        return float("inf")
    error, size = np.abs(result.astype(np.float64) - reference), np.abs(reference.astype(np.float64))
    floor = max(_FLOOR * float(size.max()), np.finfo(np.float64).tiny)
    axes = {min(1, error.ndim - 1), error.ndim - 1}
    return max(float((_largest(error, axis) / np.maximum(_largest(size, axis), floor)).max()) for axis in axes)


def _largest(values: Array, channels: int) -> Array:
    rest = tuple(axis for axis in range(values.ndim) if axis != channels)
    return np.asarray(values.max(axis=rest))


def speedups(original: Path, results: dict[str, Path], shape: tuple[int, ...]) -> dict[str, float]:
    """Median time of the original over each result's: onnxruntime as it is by default, one thread, in turns."""
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    sessions = {name: session(path, level) for name, path in {"": original, **results}.items()}
    x = example(shape).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.perf_counter() + SECONDS
    while len(times[""]) <= ROUNDS and (len(times[""]) < 4 or time.perf_counter() < end):
        for name, loaded in sessions.items():
            start = time.perf_counter()
            loaded.run(None, {loaded.get_inputs()[0].name: x})
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(runs[1:]) for name, runs in times.items()}
    return {name: medians[""] / medians[name] for name in results}
