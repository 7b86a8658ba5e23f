"""`fusebox-client submit | status | wait | download | report | list | cancel`."""

import io
import sys

import typer

from fusebox_client.cli.jobs import cancel, list_jobs, status
from fusebox_client.cli.outcome import Commands
from fusebox_client.cli.results import download, report, wait
from fusebox_client.cli.submit import submit


def build() -> typer.Typer:
    """The command line with all of its commands."""
    cli = typer.Typer(
        name="fusebox-client",
        help="Fuse trained networks by a Fusebox service.\n\n"
        "Exit codes: 0 done, 1 the job failed, 2 usage, 3 a gate is not met, 4 the service can't be used now.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        cls=Commands,
    )
    for command in (submit, status, wait, download, report, cancel):
        cli.command()(command)
    cli.command("list")(list_jobs)
    return cli


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without arrows and frames still sees the figures
    build()()
