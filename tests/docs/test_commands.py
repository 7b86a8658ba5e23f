"""What the documentation tells to type exists: commands, flags, form fields, addresses, variables, targets, codes."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest
import typer

from app import errors
from app.__main__ import cli
from app.api import refusals
from app.api.routes import events, fuse, health, jobs, listing, pages, results
from app.options import FuseOptions
from app.settings import Settings
from fusebox_client.cli.main import build
from tests.docs.pages import NAMES, PAGES, ROOT, blocks_of, commands_of, rows_of, spans_of

_PROGRAMS: Final = {"fusebox": cli, "fusebox-client": build()}
_OPTIONS: Final = {*FuseOptions.model_fields, "probe"}
# What routes read besides a job's options: how long to wait, and which part of a list or of events.
_ASKED: Final = {"wait", "limit", "cursor", "state", "after"}
_OF_OTHERS: Final = {"--fail-with-body", "--help"}  # curl's, and everybody's
_OF_DOCKER: Final = {"--build", "--gpus", "--pids-limit", "--profile", "--stop-timeout", "--tail", "--wait"}
_OF_THE_CLIENT: Final = {"FUSEBOX_URL", "FUSEBOX_KEY"}


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and what is left of them."""
    command: Any = typer.main.get_command(_PROGRAMS[Path(words[0]).name])
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        assert rest[0] in command.commands, f"there is no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_commands_are_understood_as_they_are_written(document: Path) -> None:
    for words in commands_of(document):
        if Path(words[0]).name in _PROGRAMS:
            command, rest = _command(words)
            command.make_context(words[0], list(rest))  # raises of what it does not know


def _paths() -> set[str]:
    parts = (fuse, listing, jobs, events, results, health, pages)
    return {route.path for part in parts for route in part.router.routes}


def _routes() -> list[re.Pattern[str]]:
    return [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in _paths() | {"/openapi.json"}]


def test_the_page_of_the_api_tells_every_address() -> None:
    rows = rows_of(ROOT / "docs/api.md", "The HTTP API", "request")
    told = {row[0].strip("`").partition(" ")[2].replace("{id}", "{job_id}") for row in rows}

    of_jobs = {path for path in _paths() if path.startswith(("/fuse", "/v1/"))}
    # The first is PUT without a name, for `curl -T`; the others are told beside `/report`.
    assert told == of_jobs - {"/fuse/", "/v1/jobs/{job_id}/report.md", "/v1/jobs/{job_id}/report.html"}


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_curl_asks_for_what_there_is(document: Path) -> None:
    routes = _routes()
    for words in (words for words in commands_of(document) if words[0] == "curl"):
        fields = {after.partition("=")[0] for flag, after in pairwise(words) if flag == "-F"}
        assert fields <= _OPTIONS | {"model"}, words
        for url in (urlsplit(word) for word in words if word.startswith(("http://", "https://"))):
            assert any(route.fullmatch(url.path or "/") for route in routes), url.path
            assert {name for name, _ in parse_qsl(url.query)} <= _OPTIONS | _ASKED, url.query


def _flags(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from _flags(inner)


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_flags_in_sentences_exist(document: Path) -> None:
    known = _OF_OTHERS.union(_OF_DOCKER, *(_flags(typer.main.get_command(program)) for program in _PROGRAMS.values()))
    named = {flag for span in spans_of(document) for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    of_peers = {"--only", "--json", "--keep", "--speed"}  # of the benchmarks

    assert named - of_peers <= known


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_variables_are_settings(document: Path) -> None:
    named = set(re.findall(r"FUSEBOX_[A-Z][A-Z_]*[A-Z]", document.read_text(encoding="utf-8")))

    assert named <= {f"FUSEBOX_{name.upper()}" for name in Settings.model_fields} | _OF_THE_CLIENT


def test_the_page_of_settings_names_settings() -> None:
    page = ROOT / "docs/settings.md"
    headings = ("Who may ask", "What one may take", "How a job is confined")
    rows = [row for heading in headings for row in rows_of(page, heading, "setting")]

    named = {name for row in rows for name in row[0].lower().split(", ")}
    assert len(named) > 20
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = [*spans_of(document), *blocks_of(document, "", "sh")]
    named = {name for text in code for name in re.findall(r"(?:^|\n)make ([a-z-]+)", text)}

    assert named <= targets


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_problems_have_the_status_that_is_told(document: Path) -> None:
    kinds = [kind for module in (errors, refusals) for kind in vars(module).values() if isinstance(kind, type)]
    known = {(str(kind.status), kind.code) for kind in kinds if issubclass(kind, errors.AppError)}
    told = set(re.findall(r"\b([45]\d\d) `([a-z]+(?:-[a-z]+)+)`", document.read_text(encoding="utf-8")))

    assert told <= known


def test_the_page_of_options_is_the_code() -> None:
    rows = rows_of(ROOT / "docs/options.md", "Options", "option")

    assert {row[0].strip("`") for row in rows} == _OPTIONS
