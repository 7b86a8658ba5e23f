"""Options that several commands share."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fusebox_client.cli.screen import Screen
from fusebox_client.client import Fusebox
from fusebox_client.problems import FuseboxError
from fusebox_client.talk.patience import Patience

_SERVICE = {"rich_help_panel": "The service"}
_GATE = {"rich_help_panel": "Gates (exit code 3 where one is not met)"}


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, **more)


Url = Annotated[str | None, _option(help="Where it is: https://fuse.example.org", envvar="FUSEBOX_URL", **_SERVICE)]
Key = Annotated[str | None, _option(help="API key; better in the environment.", envvar="FUSEBOX_KEY", **_SERVICE)]
Ca = Annotated[Path | None, _option("--ca", help="Certificates to trust instead of the usual ones, PEM.", **_SERVICE)]
Retries = Annotated[int, _option(help="How often to try again where that may help.", min=0, max=100, **_SERVICE)]

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its URL.")]
Json = Annotated[bool, _option("--json", help="One JSON document on standard output.")]
Markdown = Annotated[bool, _option("--markdown", help="Markdown on standard output, for the summary of a CI run.")]
Quiet = Annotated[bool, _option("--quiet", "-q", help="Nothing on standard error but what went wrong.")]
Timeout = Annotated[float | None, _option(help="Seconds to wait for the job, at most.", min=0)]
Output = Annotated[Path | None, _option("--output", "-o", help="File or directory; else the service names the file.")]

MaxError = Annotated[float | None, _option(help="The outputs move by no more, relative to their size.", **_GATE)]
RequireLayers = Annotated[int | None, _option(help="At least so many layers are replaced.", min=0, **_GATE)]
RequireNoNorms = Annotated[
    bool, _option("--require-no-batch-norms", help="No batch norm is left in the model.", **_GATE)
]
RequireAll = Annotated[bool, _option("--require-nothing-refused", help="No layer was refused.", **_GATE)]
RequireEndToEnd = Annotated[
    bool, _option("--require-end-to-end", help="The whole model was compared, not its blocks one by one.", **_GATE)
]
RequireSpeedup = Annotated[
    float | None, _option(help="So many times as fast at every batch size; implies --benchmark.", min=0, **_GATE)
]


@dataclass(frozen=True, slots=True)
class Where:
    """The service that a command talks to."""

    url: str | None
    key: str | None
    ca: Path | None = None
    retries: int = 5

    def open(self, screen: Screen) -> Fusebox:
        """Raises NoUrl, UnusableKey, and UnusableCa for certificates that are none."""
        patience = Patience(attempts=self.retries + 1, told=screen.again)
        return Fusebox(self.url, self.key, patience=patience, verify=_trusted(self.ca))


class UnusableCa(FuseboxError):
    """The file of certificates can't be used."""


def _trusted(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise UnusableCa(f"{ca} can't be used: {error}") from None


def split_job(given: str, url: str | None) -> tuple[str, str | None]:
    """The id, and the service's URL where the job is given by its own."""
    if not given.startswith(("http://", "https://")):
        return given, url
    base, _, job_id = given.rstrip("/").rpartition("/")
    for tail in ("/v1/jobs", "/jobs"):
        if base.endswith(tail):
            return job_id, base.removesuffix(tail)
    raise typer.BadParameter(f"{given} is no URL of a job.")
