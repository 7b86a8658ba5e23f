"""`fusebox fuse` and `fusebox inspect`: the engine in this process, without server, queue or child."""

import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from rich.console import Console

from app.commands.tables import inspection_view, plain, report_view, tree_view
from app.devices import probe as gpu
from app.devices.choice import find
from app.devices.use import is_shortage, make_ready
from app.engine import fuse_checkpoint, inspect_checkpoint
from app.errors import AppError, InvalidOption, NotEquivalent, OutOfMemory
from app.markdown import report_markdown
from app.options import MAX_PLAN, FuseOptions
from app.report import Report, fused_filename
from app.settings import Settings
from app.snippet import comparison_snippet

# Exit codes, those of the client: a pipeline can rely on them.
OK, FAILED, USAGE, GATE = 0, 1, 2, 3

_NOISE_FACTOR = 4  # how many times the original's own noise the outputs may move, whatever a caller asks

_words = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Show:
    """What is shown of a report: tables for people, or one of two texts for machines."""

    form: Literal["tables", "json", "markdown"] = "tables"
    tree: bool = False
    everything: bool = False


_TABLES = Show()


def fuse_file(
    source: Path,
    output: Path,
    report_path: Path | None,
    given: dict[str, Any],
    settings: Settings,
    probe: Path | None = None,
    show: Show = _TABLES,
) -> int:
    """Write the fused file, and the report where one is wanted; the exit code. Nothing is written on failure."""
    # As Ctrl-C does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        output = _in_folder(source, output, given.get("output", "keep"))
        _check_paths(source, output, report_path)
        if probe is not None:
            _need_file(probe)
        report = _fuse_atomically(source, output, report_path, _options(given), settings, probe)
    except AppError as error:
        return _complain(error, given.get("max_error"))
    except OSError as error:
        return _complain(_unusable(error, output))
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        return _complain(_too_large())
    _show(report, show)
    _words.print(f"{plain(str(output))}  {report.output.bytes:,} bytes", markup=False, soft_wrap=True)
    return OK


def _show(report: Report, show: Show) -> None:
    """Machines read standard output, people the other."""
    match show.form:
        case "json":
            print(report.model_dump_json(indent=2))
        case "markdown":
            print(report_markdown(report, comparison_snippet(report)))
        case _:
            _words.print(report_view(report, show.everything))
            if show.tree:
                _words.print(tree_view(report))


def inspect_file(source: Path, as_json: bool) -> int:
    """Print what is in the file, as JSON where no person reads it; the exit code."""
    try:
        _need_file(source)
        inspection = inspect_checkpoint(source, filename=source.name)
    except AppError as error:
        return _complain(error)
    if as_json or not sys.stdout.isatty():
        print(inspection.model_dump_json(indent=2))
    else:
        Console(highlight=False).print(inspection_view(inspection))
    return OK


def _fuse_atomically(
    source: Path,
    output: Path,
    report_path: Path | None,
    options: FuseOptions,
    settings: Settings,
    probe: Path | None,
) -> Report:
    """Work beside the output and rename at the end: a crash leaves no half a model under its name."""
    device = _device(settings)
    target = output.resolve()  # A link stays one; what it points at is written.
    with tempfile.TemporaryDirectory(dir=_nearest(target.parent), prefix=".fusebox-") as scratch:
        written = Path(scratch) / "output"
        with _words.status("reading") as status:
            report = fuse_checkpoint(
                source,
                written,
                options,
                filename=source.name,
                device=device,
                progress=status.update,
                probe=probe,
                allowed_globals=settings.allowed_names,
            )
        with written.open("rb") as file:
            os.fsync(file.fileno())
        if report_path is not None:
            # First: a model without its report is worse than a report without its model.
            report_path.parent.mkdir(parents=True, exist_ok=True)
            report_path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        target.parent.mkdir(parents=True, exist_ok=True)  # Only now: nothing is left of what failed.
        written.replace(target)
    return report


def _device(settings: Settings) -> str:
    """The GPU that works, started in this very process, or the CPU. Raises DeviceUnusable."""
    device = find(settings.device, gpu.look)
    if device.gpu is not None:
        make_ready(device.name, settings.job_device_memory_bytes)
    return device.name


def _check_paths(source: Path, output: Path, report_path: Path | None) -> None:
    """Before the work and not after it: what can't be read or written is named."""
    _need_file(source)
    if output.exists() and not output.is_file():
        # Renaming over it would replace the device or pipe itself.
        raise InvalidOption(f"{output} can't be written: it is no plain file.", remedy="Give the path of a file.")
    for path, name in ((output, "OUT"), (report_path, "the report")):
        if path is not None:
            _check_target(path, source, name)
    if report_path is not None and report_path.resolve() == output.resolve():
        raise InvalidOption(f"{output} can't be both model and report.", remedy="Give two paths.")


def _check_target(path: Path, source: Path, name: str) -> None:
    if path.exists() and path.samefile(source):
        raise InvalidOption(f"{path} is the input.", remedy=f"Write {name} to another path.")
    directory = path.resolve().parent
    if path.is_dir():
        raise InvalidOption(f"{path} is a folder.", remedy="Give the path of a file in it.")
    there = _nearest(directory)
    if not there.is_dir():
        raise InvalidOption(f"{path} can't be written: {there} is no folder.", remedy="Give another path.")
    if not os.access(path if path.exists() else there, os.W_OK):
        raise InvalidOption(f"{path} may not be written.", remedy="Check the permissions, or give another path.")


def _in_folder(source: Path, output: Path, kind: str) -> Path:
    """Where the fused file goes: into a folder that is there it takes its usual name with it."""
    if str(output) == "-":
        raise InvalidOption("OUT is -, and standard output is for the report.", remedy="Give the path of a file.")
    name = fused_filename(source.name)
    return output / (name if kind == "keep" else f"{name.rpartition('.')[0]}.{kind}") if output.is_dir() else output


def _nearest(directory: Path) -> Path:
    """The folder itself, or the one in which it has to be made."""
    return next(one for one in (directory, *directory.parents) if one.exists())


def _need_file(source: Path) -> None:
    if not source.is_file():
        raise InvalidOption(f"{source} is no file.", remedy="Check the path.")
    if not os.access(source, os.R_OK):
        raise InvalidOption(f"{source} may not be read.", remedy="Check its permissions.")


def _options(given: dict[str, Any]) -> FuseOptions:
    try:
        return FuseOptions.model_validate({**given, "plan": _plan_text(given.get("plan"))})
    except ValidationError as error:
        wrong = error.errors()[0]
        option = "--" + "-".join(str(part) for part in wrong["loc"]).replace("_", "-")
        raise InvalidOption(
            f"{option} is {str(wrong['input'])[:200]}: {wrong['msg']}.", remedy="See fusebox fuse --help."
        ) from None


def _plan_text(given: str | None) -> str | None:
    """The plan itself, or the content of the file that `@` names, as curl has it."""
    if given is None or not given.startswith("@"):
        return given
    path = Path(given[1:])
    _need_file(path)
    if path.stat().st_size > 4 * MAX_PLAN:
        raise InvalidOption(f"{path} is larger than any plan.", remedy=f"A plan has up to {MAX_PLAN:,} characters.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidOption(f"{path} is not UTF-8 text.", remedy="Write the plan as JSON.") from None


def _unusable(error: OSError, output: Path) -> InvalidOption:
    """The system's own word on a path: a full disk, a file system that is read-only, a name that is too long."""
    return InvalidOption(f"{error.filename or output}: {error.strerror or error}.", remedy="Give another path.")


def _too_large() -> OutOfMemory:
    return OutOfMemory("The GPU's memory is not enough.", remedy="Give --device cpu, or smaller inputs.")


def _complain(error: AppError, max_error: float | None = None) -> int:
    _words.print(plain(f"{error.code}: {error.detail}"), markup=False, soft_wrap=True)
    if error.remedy:
        _words.print(plain(error.remedy), markup=False, soft_wrap=True)
    if isinstance(error, InvalidOption):
        return USAGE
    return GATE if max_error is not None and _only_the_gate(error) else FAILED


def _only_the_gate(error: AppError) -> bool:
    """Whether the model would have passed but for the caller's own limit."""
    found = error.facts.get("equivalence") if isinstance(error, NotEquivalent) else None
    if not isinstance(found, dict):
        return False
    native = found["native"]
    figures = native["relative"], native["noise"]
    return all(isinstance(one, float) for one in figures) and figures[0] <= _NOISE_FACTOR * figures[1]
