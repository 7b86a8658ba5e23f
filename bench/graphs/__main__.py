"""`make bench-graphs`: every model through Fusebox and its peers, and one table of what each left."""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from bench.graphs.apart import Failure
from bench.graphs.files import model_file
from bench.graphs.models import ROWS
from bench.graphs.results import RowResult, measure_row
from bench.graphs.table import print_rows

_PACKAGES = ("onnxslim", "onnxsim", "onnxoptimizer", "onnxruntime", "onnx", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.graphs", description=__doc__)
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS], metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure and operator count there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what each tool wrote, one folder a model")
    arguments = parser.parse_args()
    progress, console = Console(stderr=True), Console(width=150)
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        for row in ROWS:
            if arguments.only and row.name not in arguments.only:
                continue
            progress.print(row.name, highlight=False)
            source = model_file(row)
            if isinstance(source, Failure):
                console.print(f"{row.name}: not exported, {source.reason}", highlight=False, markup=False)
                continue
            folder = (arguments.keep or Path(scratch)) / row.name
            folder.mkdir(parents=True, exist_ok=True)
            result = measure_row(row, source, folder)
            if isinstance(result, Failure):
                console.print(f"{row.name}: the original does not run, {result.reason}", highlight=False, markup=False)
                continue
            measured.append(result)
    print_rows(console, measured)
    console.print(_conditions(), highlight=False)
    if arguments.json:
        arguments.json.write_text(json.dumps([_plain(row) for row in measured], indent=1))


def _conditions() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return f"{versions}; one thread, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _plain(row: RowResult) -> dict[str, object]:
    return {"packages": {package: version(package) for package in _PACKAGES}, **asdict(row)}


if __name__ == "__main__":
    main()
