"""The documentation as its readers see it: links, anchors, code and tables, by a Markdown parser."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_BESIDE: Final = ("README.md", "CHANGELOG.md", "client/README.md", "deploy/README.md")
PAGES: Final = sorted([*(ROOT / name for name in _BESIDE), *(ROOT / "docs").rglob("*.md")])
NAMES: Final = [str(page.relative_to(ROOT)) for page in PAGES]

_SHELL: Final = ("", "sh", "shell", "bash")
_OPERATORS: Final = ("|", "||", "&&", ";", ">", ">>", "<", "&")
_MARKDOWN: Final = MarkdownIt().enable("table")


@cache
def tokens_of(page: Path) -> tuple[Token, ...]:
    return tuple(_MARKDOWN.parse(page.read_text(encoding="utf-8")))


def _inline(page: Path) -> Iterator[Token]:
    for token in tokens_of(page):
        yield from token.children or ()


def links_of(page: Path) -> Iterator[str]:
    """Where links lead, and where pictures lie."""
    for token in _inline(page):
        target = token.attrGet("href") or token.attrGet("src")
        if target is not None:
            yield str(target)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    found: list[str] = []
    for text in headings_of(page):
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


def headings_of(page: Path) -> Iterator[str]:
    """The plain text of each heading."""
    tokens = tokens_of(page)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            yield "".join(part.content for part in token.children or ())


def spans_of(page: Path) -> Iterator[str]:
    """Code within sentences and tables."""
    for token in _inline(page):
        if token.type == "code_inline":
            yield token.content


def blocks_of(page: Path, *languages: str) -> Iterator[str]:
    """Code blocks of these languages; an indented block has none."""
    for token in tokens_of(page):
        if token.type in ("fence", "code_block") and token.info.strip() in languages:
            yield token.content


def lines_of(page: Path) -> Iterator[str]:
    """Lines of shell, those that go on after a backslash as one."""
    for block in blocks_of(page, *_SHELL):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip())


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each command in lines of shell, parts of a pipe and what is behind a semicolon by themselves."""
    for line in lines_of(page):
        words: list[str] = []
        try:
            split = shlex.shlex(line, posix=True, punctuation_chars=True)
            split.whitespace_split = True
            found = list(split)
        except ValueError:  # no shell: what a service answers, for example
            continue
        for word in [*found, ";"]:
            if word not in _OPERATORS:
                words.append(word)
            elif words:
                yield words
                words = []


def rows_of(page: Path, heading: str, first: str) -> list[list[str]]:
    """Rows of the tables right under a heading whose first column is called `first`; cells as they are written."""
    section, rows = "", list[list[str]]()
    named = ""
    tokens = tokens_of(page)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            section = token.content
        elif before.type == "th_open":
            named = token.content if token.content == first or named == "" else named
        elif before.type == "table_open":
            named = ""
        elif before.type == "tr_open" and token.type == "td_open" and (section, named) == (heading, first):
            rows.append([])
        elif before.type == "td_open" and (section, named) == (heading, first):
            rows[-1].append(token.content)
    return rows
