"""`fusebox-client wait | download | report`: what needs the end of a job."""

from typing import Annotated

import typer

from fusebox_client.cli import work
from fusebox_client.cli.arguments import (
    Ca,
    JobId,
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
from fusebox_client.cli.exits import Exit
from fusebox_client.cli.outcome import Outcome, Page, ending, form_of, pass_gates, print_json, show
from fusebox_client.cli.screen import Screen
from fusebox_client.cli.tables import job_view, report_view, tree_view
from fusebox_client.report.gates import Demands
from fusebox_client.report.markdown import report_markdown
from fusebox_client.report.parts import FuseReport


def wait(
    job_id: JobId,
    url: Url = None,
    key: Key = None,
    timeout: Timeout = None,
    as_json: Json = False,
    quiet: Quiet = False,
    retries: Retries = 5,
    ca: Ca = None,
) -> None:
    """Wait until a job has ended; exit code 4 when the time is up before."""
    outcome = Outcome(form_of(as_json, False))
    with Screen(quiet) as screen, ending(outcome):
        with work.found(job_id, Where(url, key, ca, retries), screen, outcome) as job:
            work.await_result(job, screen, outcome, timeout)
        show(outcome, lambda: job_view(job.view, job.url), str)


def download(
    job_id: JobId,
    url: Url = None,
    key: Key = None,
    output: Output = None,
    bundle: Annotated[bool, typer.Option("--bundle", help="Fused file and report in one zip archive.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    quiet: Quiet = False,
    retries: Retries = 5,
    ca: Ca = None,
) -> None:
    """Save the fused file of a job; a download that was cut off before goes on where it was."""
    outcome = Outcome(form_of(as_json, False))
    with Screen(quiet) as screen, ending(outcome):
        if output is not None:
            work.check_place(output)
        with work.found(job_id, Where(url, key, ca, retries), screen, outcome) as job:
            work.await_result(job, screen, outcome, timeout)
            work.save(job, screen, outcome, output, bundle)
        if as_json:
            print_json(outcome.document(Exit.OK))


def report(
    job_id: JobId,
    url: Url = None,
    key: Key = None,
    max_error: MaxError = None,
    require_layers: RequireLayers = None,
    require_no_batch_norms: RequireNoNorms = False,
    require_nothing_refused: RequireAll = False,
    require_end_to_end: RequireEndToEnd = False,
    require_speedup: RequireSpeedup = None,
    everything: Annotated[bool, typer.Option("--all", help="Every replaced and refused layer.")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="The layers before and after.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    markdown: Markdown = False,
    quiet: Quiet = False,
    retries: Retries = 5,
    ca: Ca = None,
) -> None:
    """Show and judge the report of a job."""
    outcome = Outcome(form_of(as_json, markdown))
    demands = Demands(
        max_error, require_layers, require_no_batch_norms, require_nothing_refused, require_end_to_end, require_speedup
    )
    with Screen(quiet) as screen, ending(outcome):
        with work.found(job_id, Where(url, key, ca, retries), screen, outcome) as job:
            work.await_result(job, screen, outcome, timeout)
            found = work.read_report(job, outcome, demands)
        show(
            outcome,
            lambda: report_view(found, outcome.gates, everything),
            lambda: report_markdown(found, outcome.gates, job.url),
        )
        if tree and outcome.form == "table":
            _print_tree(found)
    pass_gates(outcome)


def _print_tree(found: FuseReport) -> None:
    if found.tree is None:
        typer.echo("The report holds no tree.", err=True)
        return
    console = Page(highlight=False)
    console.print(tree_view(found.tree.before, "before"))
    console.print(tree_view(found.tree.after, "after"))
