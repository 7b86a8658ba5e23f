"""The command line: `fusebox serve | api | worker | health | keys | fuse | inspect | verify-gpu`.

Imports of a role stand inside its command: `api` must run where torch is not installed, and every role start at once.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.errors import CanNotStart
from app.mistyped import check_names
from app.settings import InvalidSettings, read_settings, service_version
from app.start import loaded

cli = typer.Typer(
    name="fusebox",
    help="Makes trained neural networks lighter and faster without changing what they compute.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

keys = typer.Typer(help="API keys of the service: who may use it.", no_args_is_help=True)
cli.add_typer(keys, name="keys")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(service_version())
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_say_version)
]


@cli.callback()
def about(version: Version = False) -> None:
    pass


Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")]
DataDir = Annotated[Path | None, typer.Option(help="Where database and files lie.", show_default="./data")]


@cli.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the API and one worker; all state lies in the data directory."""
    from app.commands.serve import serve as run

    _need_torch()
    with _usable_settings():
        settings = read_settings(host=host, port=port, data_dir=data_dir)
        _log()
        raise typer.Exit(run(settings))


@cli.command()
def api(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the API alone."""
    from app.commands.api import run_api

    with _usable_settings():
        settings = read_settings(host=host, port=port, data_dir=data_dir)
        _log()
        run_api(settings)


@cli.command()
def worker(
    data_dir: DataDir = None,
    wait_for_device: Annotated[
        bool, typer.Option("--wait-for-device", help="Wait for a GPU that does not work yet, instead of refusing it.")
    ] = False,
) -> None:
    """Run a worker alone."""
    from app.worker.main import run_worker

    _need_torch()
    with _usable_settings():
        settings = read_settings(data_dir=data_dir)
        _log()
        run_worker(settings, waits=wait_for_device)


@cli.command()
def health(
    role: Annotated[Literal["serve", "api", "worker"], typer.Argument(help="What runs here.")] = "serve",
    data_dir: DataDir = None,
) -> None:
    """Say whether what runs here is well; the exit code is 0 if it is."""
    with _usable_settings():
        settings = read_settings(data_dir=data_dir)
    if role == "worker":
        from app.commands.heartbeat import look

        raise typer.Exit(look(settings))
    from app.commands.health import ask

    raise typer.Exit(ask(settings, "/livez" if role == "api" else "/readyz"))


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once."""
    from app.commands.keys import add

    with _usable_settings():
        raise typer.Exit(add(read_settings(data_dir=data_dir), name))


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """Show names and states of all keys."""
    from app.commands.keys import show

    with _usable_settings():
        raise typer.Exit(show(read_settings(data_dir=data_dir)))


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="ID|NAME", help="Which key.")],
    cancel_jobs: Annotated[bool, typer.Option("--cancel-jobs", help="Also cancel its unfinished jobs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Take a key no more, from the next request on."""
    from app.commands.keys import revoke

    with _usable_settings():
        raise typer.Exit(revoke(read_settings(data_dir=data_dir), key, cancel_jobs))


@cli.command()
def fuse(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Where the fused file goes.")],
    report: Annotated[Path | None, typer.Option(metavar="R.json", help="Where the report goes.")] = None,
    max_error: Annotated[float | None, typer.Option(help="Largest relative native error to accept.")] = None,
    dtype: Annotated[Literal["keep", "float32"], typer.Option(help="Dtype of fused weights.")] = "keep",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse replacements with an assumed data flow.")] = False,
    probe_shape: Annotated[
        str | None, typer.Option(help="Input sizes on which an ONNX or .pt2 file is tried: 1x3x640x640.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="What model a state dict or safetensors file belongs to: repvgg:eps=1e-3.")
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(metavar="X.npy", help="Your own inputs for the comparison: .npy, .npz or safetensors."),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="Which layer feeds which norm, as JSON, or a file of it: @plan.json.")
    ] = None,
    output_kind: Annotated[
        Literal["keep", "pt2", "onnx"], typer.Option(help="What a state dict becomes: itself, or a program.")
    ] = "keep",
    overridable: Annotated[
        Literal["keep", "fold"], typer.Option(help="ONNX initializers that are inputs too: kept, or constants.")
    ] = "keep",
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Also time both models, before and after, in turns.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as Markdown instead.")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="Show the layers before and after.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show all rows of the tables.")] = False,
) -> None:
    """Fuse a checkpoint, an ONNX model or a torch.export program here, without a server."""
    _need_torch()
    with _usable_settings():
        settings = read_settings(device=device)
    from app.commands.local import Show, fuse_file

    if as_json and markdown:
        raise typer.BadParameter("--json and --markdown are two forms of one report: give one.")
    loaded()
    show = Show("json" if as_json else "markdown" if markdown else "tables", tree, everything)

    options = {
        "max_error": max_error,
        "dtype": dtype,
        "strict": strict,
        "probe_shape": probe_shape,
        "architecture": architecture,
        "plan": plan,
        "output": output_kind,
        "overridable": overridable,
        "benchmark": benchmark,
    }
    raise typer.Exit(fuse_file(source, output, report, options, settings, probe, show))


@cli.command()
def inspect(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON also on a terminal.")] = False,
) -> None:
    """Say what is in a checkpoint without fusing it: a table on a terminal, else JSON."""
    _need_torch()
    from app.commands.local import inspect_file

    loaded()
    raise typer.Exit(inspect_file(source, as_json))


@cli.command("verify-gpu")
def verify_gpu(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A checkpoint of yours to try it with.")
    ] = None,
) -> None:
    """Try on this machine's GPU what a worker relies on: pass or fail for each, with figures."""
    _need_torch()
    with _usable_settings():
        settings = read_settings()
    from app.commands.verify_gpu import verify_gpu as verify

    raise typer.Exit(verify(settings, model, typer.echo))


def main() -> None:
    # Read when torch is loaded: threads that wait must not spin, or a busy machine takes many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Read when cuBLAS starts: its products are the same bits each time only with a workspace of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cli()


@contextmanager
def _usable_settings() -> Iterator[None]:
    """A setting, database or store that can't be used ends the program with a sentence."""
    try:
        for warning in check_names(os.environ):
            typer.echo(f"fusebox: warning: {warning}", err=True)
        yield
    except (InvalidSettings, CanNotStart) as error:
        typer.echo(f"fusebox: {error}", err=True)
        raise typer.Exit(2) from None


def _need_torch() -> None:
    """Found, not imported: what an installation of the API alone does not hold is told in a sentence."""
    if importlib.util.find_spec("torch") is None:
        typer.echo(
            "fusebox: this command needs torch, which is in the extra worker (pip install -e '.[worker]') "
            "and in the default image",
            err=True,
        )
        raise typer.Exit(2)


def _log() -> None:
    # It warns of every broken form that anybody sends.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")


if __name__ == "__main__":
    main()
