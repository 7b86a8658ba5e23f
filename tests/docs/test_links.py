"""Every link of the documentation leads somewhere, and every page is reached from the README."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import NAMES, PAGES, ROOT, anchors_of, links_of


def _relative(page: Path) -> list[str]:
    return [link for link in links_of(page) if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_every_relative_link_and_anchor_resolves(document: Path) -> None:
    for link in _relative(document):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{link}: there is no such file"
        assert target.is_relative_to(ROOT), f"{link} leaves the project"
        assert not anchor or anchor in anchors_of(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("document", PAGES, ids=NAMES)
def test_other_links_are_secure_or_of_this_machine(document: Path) -> None:
    others = {link for link in links_of(document) if re.match(r"[a-z]+:", link)}

    assert all(link.startswith(("https://", "http://localhost:8000")) for link in others), others


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in _relative(page)}
        waiting += [one for one in targets if one.suffix == ".md" and one not in reached]

    assert reached >= set(PAGES)


def test_every_picture_is_shown_and_says_what_it_shows() -> None:
    pictures = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.png")}
    shown = {str((page.parent / link).resolve().relative_to(ROOT)) for page in PAGES for link in _relative(page)}

    assert pictures <= shown
    assert not [page for page in PAGES if re.search(r"!\[\s*\]", page.read_text(encoding="utf-8"))]
