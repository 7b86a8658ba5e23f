"""Where the service asks for keys: the page asks for one, keeps it in the tab, and tells nobody else."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.conftest import Server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    path.write_bytes(b"PK not really")
    return path


def _give(page: Page, key: str) -> None:
    page.get_by_role("textbox", name="Key").fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_before_anything_is_sent_and_kept_for_the_tab_only(
    page: Page, context: BrowserContext, locked: Server, tiny: Path
) -> None:
    page.goto(locked.url)
    page.set_input_files("#model", tiny)
    page.get_by_role("button", name="Fuse", exact=True).click()
    _give(page, "a" * 32)
    page.wait_for_url("**/jobs/*")

    expect(page.get_by_role("heading", level=1)).to_have_text("tiny.pt")
    expect(page.locator("#state")).to_have_text("waiting")
    stored = "JSON.stringify([Object.values(sessionStorage), Object.values(localStorage), document.cookie])"
    assert page.evaluate(stored) == f'[["{"a" * 32}"],[],""]'
    assert "a" * 32 not in page.content()

    other = context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("dialog")).to_be_visible()
    _give(other, "b" * 32)
    expect(other.get_by_role("alert")).to_contain_text("No such job")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#state")).to_have_text("canceled")


def test_a_wrong_key_is_told_and_another_asked_for(page: Page, locked: Server, tiny: Path) -> None:
    page.goto(locked.url)
    page.get_by_role("button", name="Enter a key").click()
    _give(page, "c" * 32)
    page.set_input_files("#model", tiny)
    page.get_by_role("button", name="Fuse", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("invalid-key")

    page.get_by_role("button", name="Enter another key").click()
    _give(page, "a" * 32)
    page.get_by_role("button", name="Fuse", exact=True).click()

    page.wait_for_url("**/jobs/*")
    expect(page.locator("#state")).to_have_text("waiting")


def test_a_key_can_be_forgotten(page: Page, locked: Server) -> None:
    page.goto(locked.url)
    page.get_by_role("button", name="Enter a key").click()
    _give(page, "a" * 32)
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_role("button", name="Forget it").click()

    expect(page.get_by_role("button", name="Enter a key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_file_above_the_limit_is_refused_before_it_is_sent(page: Page, locked: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.pt"
    large.write_bytes(bytes(200_000))
    page.goto(locked.url)

    page.set_input_files("#model", large)

    expect(page.locator("#before")).to_contain_text("larger than this service takes, 102 kB")
    expect(page.get_by_role("button", name="Fuse", exact=True)).to_be_disabled()


def test_a_key_that_no_header_can_hold_is_refused_like_any_other(page: Page, locked: Server, tiny: Path) -> None:
    page.goto(locked.url)
    page.set_input_files("#model", tiny)
    page.get_by_role("button", name="Fuse", exact=True).click()
    _give(page, "ключ \N{KEY}")

    expect(page.get_by_role("alert")).to_contain_text("invalid-key")
    expect(page.get_by_role("button", name="Fuse", exact=True)).to_be_visible()
