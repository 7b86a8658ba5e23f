"""`make bench`: the fuse step and the whole job, on the sample checkpoints and on one of real width."""

import argparse
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.full_job import measure_job
from bench.fuse_step import fuse_step_table
from bench.wide import widen_checkpoint

_HERE = Path(__file__).resolve().parent.parent
_SAMPLES = (_HERE.parent / "shared" / "checkpoints", _HERE / "tests" / "data")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("checkpoints", nargs="*", type=Path, help="YOLOv7 checkpoints; default: the samples")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _inputs(arguments.checkpoints, Path(folder)):
            _print_fuse_step(console, name, path)
            _print_job(console, name, path, Path(folder), arguments.threads)


def _inputs(given: list[Path], scratch: Path) -> list[tuple[str, Path]]:
    """The files given, or the samples and copies of the first one at four times its width."""
    samples = given or sorted({p for folder in _SAMPLES for p in folder.glob("yolov7*.pt")}, key=lambda p: p.name)
    named = [(path.name, path) for path in samples]
    narrow = next((path for path in samples if path.name == "yolov7.pt"), None)
    if narrow is None or given:
        return named
    for label, dtype, training in (
        ("YOLOv7 at real width, fp32, model only", torch.float32, False),
        ("YOLOv7 at real width, fp16, model only", torch.float16, False),
        ("YOLOv7 at real width, fp16, with optimizer", torch.float16, True),
    ):
        path = scratch / f"wide-{len(named)}.pt"
        widen_checkpoint(narrow, path, 4, dtype, training)
        named.append((label, path))
    return named


def _print_fuse_step(console: Console, name: str, path: Path) -> None:
    dtype = torch.float32 if "fp32" in name else torch.float16
    rows = fuse_step_table(path, dtype)
    ours, floor = rows[0][1], rows[3][1]
    table = Table("fuse step", "median ms", "ours / this", "this / floor", "", title=f"{name} ({_size(path)})")
    for label, milliseconds, note in rows:
        table.add_row(label, f"{milliseconds:.1f}", f"{ours / milliseconds:.2f}", f"{milliseconds / floor:.2f}", note)
    console.print(table)


def _print_job(console: Console, name: str, path: Path, scratch: Path, threads: int) -> None:
    figures = measure_job(path, scratch, threads)
    table = Table("whole job", "seconds", "/ cp", "/ (read + sha256 + write)", "peak MiB beyond torch", "/ checkpoint")
    rows = (
        ("cp", figures.cp_seconds, None),
        ("read + sha256 + write", figures.floor_seconds, None),
        ("without verification", figures.plain_seconds, figures.peak_plain),
        ("with verification", figures.verified_seconds, figures.peak_verified),
    )
    for label, seconds, peak in rows:
        memory = ("", "") if peak is None else (f"{peak:.0f}", f"{peak / figures.size:.2f}")
        table.add_row(
            label,
            f"{seconds:.3f}",
            f"{seconds / figures.cp_seconds:.1f}",
            f"{seconds / figures.floor_seconds:.2f}",
            *memory,
        )
    console.print(table)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"


if __name__ == "__main__":
    main()
