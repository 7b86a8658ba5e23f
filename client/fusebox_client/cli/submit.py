"""`fusebox-client submit`: from the checkpoint to the fused file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fusebox_client.cli import work
from fusebox_client.cli.arguments import (
    Ca,
    Json,
    Key,
    Markdown,
    MaxError,
    Output,
    Quiet,
    RequireAll,
    RequireEndToEnd,
    RequireLayers,
    RequireNoNorms,
    RequireSpeedup,
    Retries,
    Timeout,
    Url,
    Where,
)
from fusebox_client.cli.outcome import Outcome, ending, form_of, pass_gates, show
from fusebox_client.cli.screen import Screen
from fusebox_client.cli.tables import report_view
from fusebox_client.report.gates import Demands
from fusebox_client.report.markdown import report_markdown


def submit(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The checkpoint.")],
    url: Url = None,
    key: Key = None,
    output: Output = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="Where the report goes, as JSON.")] = None,
    max_error: MaxError = None,
    require_layers: RequireLayers = None,
    require_no_batch_norms: RequireNoNorms = False,
    require_nothing_refused: RequireAll = False,
    require_end_to_end: RequireEndToEnd = False,
    require_speedup: RequireSpeedup = None,
    dtype: Annotated[Literal["keep", "float32"] | None, typer.Option(help="Dtype of fused weights.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what is assumed instead of marking it.")] = False,
    architecture: Annotated[
        str | None, typer.Option(help="What model a state dict belongs to: repvgg:eps=1e-3.")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Which layer feeds which norm, as JSON, or @plan.json.")] = None,
    probe: Annotated[
        Path | None, typer.Option(help="Your own inputs for the comparison: .npy, .npz or .safetensors.")
    ] = None,
    probe_shape: Annotated[str | None, typer.Option(help="Input sizes of a graph file: 1x3x640x640.")] = None,
    output_kind: Annotated[
        Literal["keep", "pt2", "onnx"] | None, typer.Option(help="What a state dict becomes: itself, or a program.")
    ] = None,
    overridable: Annotated[
        Literal["keep", "fold"] | None, typer.Option(help="ONNX initializers that are inputs too.")
    ] = None,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="Measure the latency before and after.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Any name of this upload: sent again under it, it is the same job.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait: print the job's URL.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    markdown: Markdown = False,
    quiet: Quiet = False,
    retries: Retries = 5,
    ca: Ca = None,
) -> None:
    """Upload a checkpoint, wait, judge the report, save the fused file.

    The file is saved only when every gate is met.
    """
    outcome = Outcome(form_of(as_json, markdown), model.name, max_error)
    demands = Demands(
        max_error, require_layers, require_no_batch_norms, require_nothing_refused, require_end_to_end, require_speedup
    )
    options = {
        "max_error": max_error,
        "dtype": dtype,
        "strict": strict or None,
        "probe_shape": probe_shape,
        "architecture": architecture,
        "output": output_kind,
        "overridable": overridable,
        "benchmark": benchmark or require_speedup is not None or None,
    }
    with Screen(quiet) as screen, ending(outcome):
        work.check_places(model, output, report_to)
        options["plan"] = _text_or_file(plan)
        with Where(url, key, ca, retries).open(screen) as service:
            job = work.upload(service, screen, outcome, work.Upload(model, probe, idempotency_key, options))
            if detach:
                show(outcome, lambda: job.url, lambda: f"[The job]({job.url}) is {job.state}.\n")
                return
            work.await_result(job, screen, outcome, timeout)
            report = work.read_report(job, outcome, demands)
            if report_to is not None:
                work.write_report(outcome, report_to)
            if all(gate.met for gate in outcome.gates):
                work.save(job, screen, outcome, output)
        show(
            outcome,
            lambda: report_view(report, outcome.gates),
            lambda: report_markdown(report, outcome.gates, job.url),
        )
    pass_gates(outcome)


def _text_or_file(given: str | None) -> str | None:
    """`@plan.json` is the file's text. Raises OSError."""
    return Path(given[1:]).read_text(encoding="utf-8") if given and given.startswith("@") else given
