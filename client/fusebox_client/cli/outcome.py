"""What a command ends with: its result on standard output as table, JSON or Markdown, and the exit code."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import typer
from rich.console import Console, RenderableType
from typer.core import TyperGroup

from fusebox_client.cli.arguments import UnusableCa
from fusebox_client.cli.exits import Exit, exit_of
from fusebox_client.problems import FuseboxError, Problem, ProblemError
from fusebox_client.report.gates import Gate
from fusebox_client.report.markdown import problem_markdown
from fusebox_client.report.words import plain
from fusebox_client.views import JobView

Form = Literal["table", "json", "markdown"]

# Typer tells of what was typed wrongly in several kinds, and exports the most usual of them.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__base__)


@dataclass(slots=True)
class Outcome:
    """What is known so far: filled as the command goes on, so that a failure tells it too."""

    form: Form
    what: str = ""
    demanded_error: float | None = None
    job: JobView | None = None
    url: str = ""
    report: Mapping[str, Any] | None = None
    gates: Sequence[Gate] = field(default_factory=tuple)
    file: Path | None = None

    def document(self, exit_code: Exit, problem: Problem | None = None, sentence: str = "") -> dict[str, Any]:
        """The JSON document: the same members, whatever happened."""
        return {
            "exit": int(exit_code),
            "job": None if self.job is None else {**self.job.raw, "url": self.url},
            "gates": [asdict(gate) for gate in self.gates],
            "file": None if self.file is None else str(self.file),
            "problem": None if problem is None else {**asdict(problem), "facts": dict(problem.facts)},
            "error": sentence or None,
            "report": self.report,
        }


def form_of(as_json: bool, as_markdown: bool) -> Form:
    """Standard output is one or the other."""
    if as_json and as_markdown:
        raise typer.BadParameter("--json and --markdown both want standard output: take one.")
    return "json" if as_json else "markdown" if as_markdown else "table"


def show(outcome: Outcome, table: Callable[[], RenderableType], markdown: Callable[[], str]) -> None:
    """The result in the form that was asked for."""
    missed = any(not gate.met for gate in outcome.gates)
    match outcome.form:
        case "json":
            print_json(outcome.document(Exit.GATE if missed else Exit.OK))
        case "markdown":
            typer.echo(markdown(), nl=False)
        case "table":
            Page(highlight=False).print(table())


class Page(Console):
    """Standard output; a reader who has left is told to `ending`, as of the other forms."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_json(document: object) -> None:
    plainly = sys.stdout is not None and sys.stdout.encoding.lower() != "utf-8"
    text = json.dumps(document, indent=2, ensure_ascii=plainly, default=str)
    # A file's name may be bytes that are no UTF-8.
    typer.echo(text.encode(errors="surrogateescape").decode(errors="replace"))


def pass_gates(outcome: Outcome) -> None:
    """Exit code 3 where a gate is not met, and which."""
    missed = [gate for gate in outcome.gates if not gate.met]
    for gate in missed:
        typer.echo(f"fusebox-client: gate {gate.name} is not met: {gate.sentence}", err=True)
    if missed:
        raise typer.Exit(Exit.GATE)


@contextmanager
def ending(outcome: Outcome) -> Iterator[None]:
    """Whatever ends a command ends it with a sentence and its exit code, never with a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        going = outcome.job is not None and not outcome.job.ended
        _complain(f"interrupted; the job goes on: fusebox-client wait {outcome.url}" if going else "interrupted")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        _give_output_up()  # `| head -1` has seen enough
        raise typer.Exit(Exit.NOT_READ) from None
    except (FuseboxError, OSError) as error:
        code = Exit.USAGE if isinstance(error, UnusableCa) else exit_of(error, outcome.demanded_error)
        problem = error.problem if isinstance(error, ProblemError) else None
        sentence = _sentence(error)
        _complain(sentence)
        try:
            _tell(outcome, code, problem, sentence)
        except OSError:
            _give_output_up()  # it may be what failed
        raise typer.Exit(code) from None


class Commands(TyperGroup):
    """The commands; also what was typed wrongly is told as JSON where that was asked for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _USAGE_ERROR as error:
            if "--json" in sys.argv[1:]:  # what else was typed is not known
                print_json(Outcome("json").document(Exit.USAGE, sentence=cast(Any, error).format_message()))
            raise


def _tell(outcome: Outcome, code: Exit, problem: Problem | None, sentence: str) -> None:
    """The failure in the form that was asked for."""
    if outcome.form == "json":
        print_json(outcome.document(code, problem, sentence))
    elif outcome.form == "markdown":
        told = problem or Problem("service" if code == Exit.SERVICE else "usage", 0, sentence.rstrip("."))
        typer.echo(problem_markdown(told, outcome.what, outcome.url), nl=False)


def _give_output_up() -> None:
    """What is left in its buffer has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: FuseboxError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    return f"{error.strerror}." if isinstance(error, OSError) and error.strerror else str(error)


def _complain(sentence: str) -> None:
    typer.echo(f"fusebox-client: {plain(sentence)}", err=True)
