"""`fusebox-client submit | status | wait | download | report | list | cancel`."""

import io
import sys
from importlib import metadata
from typing import Annotated

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
    cli.callback()(_about)
    for command in (submit, status, wait, download, report, cancel):
        cli.command()(command)
    cli.command("list")(list_jobs)
    return cli


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(metadata.version("fusebox-client"))
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_say_version)
]


def _about(version: _Version = False) -> None:
    pass


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without arrows and frames still sees the figures
    build()()
