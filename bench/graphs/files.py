"""The ONNX file of each row, made once and kept under `.bench/`."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.graphs import export as exporting
from bench.graphs.apart import Failure, apart
from bench.graphs.models import Row, Trained

_HERE = Path(__file__).resolve().parent
CACHE = _HERE.parent.parent / ".bench"
_WHEEL = "rapidocr-onnxruntime==1.4.4"
_EXPORT_SECONDS = 900


def model_file(row: Row) -> Path | Failure:
    """A failed export is a row of the table that says so."""
    path = CACHE / f"models-{_digest()}" / f"{row.name}.onnx"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(row.source, Trained):
        path.write_bytes(_from_wheel(row.source.member))
        return path
    failure = apart(exporting.export, row, row.source, path.with_suffix(".part"), seconds=_EXPORT_SECONDS)
    if isinstance(failure, Failure):
        return failure
    return path.with_suffix(".part").rename(path)


def _digest() -> str:
    """Of what makes the files, so that a change there makes them anew."""
    sources = [*sorted((_HERE / "models").glob("*.py")), _HERE / "calibrate.py", _HERE / "export.py"]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def _from_wheel(member: str) -> bytes:
    """Downloaded, not installed: only its model files are of use here."""
    folder = CACHE / "wheels"
    if not list(folder.glob("rapidocr_onnxruntime-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _WHEEL]
        subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("rapidocr_onnxruntime-*.whl"))) as wheel:
        return wheel.read(f"rapidocr_onnxruntime/models/{member}")
