"""`fusebox-client status | list | cancel`: what is answered at once."""

from typing import Annotated, Literal

import typer

from fusebox_client.cli import work
from fusebox_client.cli.arguments import Ca, JobId, Json, Key, Retries, Url, Where
from fusebox_client.cli.exits import Exit
from fusebox_client.cli.outcome import Outcome, Page, ending, form_of, print_json, show
from fusebox_client.cli.screen import Screen
from fusebox_client.cli.tables import JobsView, job_view
from fusebox_client.problems import JobError
from fusebox_client.talk.results import check


def status(
    job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False, retries: Retries = 5, ca: Ca = None
) -> None:
    """Say where a job stands; exit code 1 if it has no result and never will."""
    outcome = Outcome(form_of(as_json, False))
    with Screen() as screen, ending(outcome):
        with work.found(job_id, Where(url, key, ca, retries), screen, outcome) as job:
            if not as_json:
                show(outcome, lambda: job_view(job.view, job.url), str)
        _exit_by_state(outcome)


def list_jobs(
    url: Url = None,
    key: Key = None,
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "canceled", "expired"] | None,
        typer.Option(help="Only jobs in this state."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the newest first.")] = 20,
    as_json: Json = False,
    retries: Retries = 5,
    ca: Ca = None,
) -> None:
    """List the jobs of this key."""
    outcome = Outcome(form_of(as_json, False))
    with Screen() as screen, ending(outcome):
        with Where(url, key, ca, retries).open(screen) as service:
            found = work.newest(service, state, limit)
        if as_json:
            print_json({"jobs": [view.raw for view in found]})
        else:
            Page(highlight=False).print(JobsView(found))


def cancel(
    job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False, retries: Retries = 5, ca: Ca = None
) -> None:
    """End a job, or forget one that has ended: its files are removed."""
    outcome = Outcome(form_of(as_json, False))
    with Screen() as screen, ending(outcome):
        with work.found(job_id, Where(url, key, ca, retries), screen, outcome) as job:
            outcome.job = job.cancel().view
        show(outcome, lambda: job_view(job.view, job.url), str)


def _exit_by_state(outcome: Outcome) -> None:
    """The exit code of a job that is over without a result."""
    try:
        if outcome.job is not None:
            check(outcome.job)
    except JobError:
        if outcome.form == "json":
            print_json(outcome.document(Exit.JOB_FAILED))
        raise typer.Exit(Exit.JOB_FAILED) from None
    if outcome.form == "json":
        print_json(outcome.document(Exit.OK))
