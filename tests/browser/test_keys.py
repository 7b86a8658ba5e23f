"""Where the service asks for keys: the page asks for one, keeps it in the tab, and tells nobody else."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.conftest import Server

_AUTHORIZATION = {"Authorization": f"Bearer {'a' * 32}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for keys, and works."""
    settings = {"FUSEBOX_API_KEYS": f"alice={'a' * 32},bob={'b' * 32}"}
    running = Server(tmp_path_factory.mktemp("keyed") / "data", "serve", settings)
    running.start()
    yield running
    running.close()


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


def test_a_large_file_is_saved_by_the_browser_itself_with_the_key_in_no_address(
    page: Page, keyed: Server, small: Path
) -> None:
    page.goto(keyed.url)
    page.set_input_files("#model", small)
    page.get_by_role("button", name="Fuse", exact=True).click()
    _give(page, "a" * 32)
    expect(page.locator(".report")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    with page.expect_download() as model:
        page.get_by_role("link", name="Download").click()
    with page.expect_download() as bundle:
        page.get_by_role("link", name="With report (zip)").click()
    with page.expect_download() as report:
        page.get_by_role("link", name="JSON").click()

    output = keyed.http.get(f"/v1/jobs/{page.url.rpartition('/')[2]}", headers=_AUTHORIZATION).json()["output"]
    assert hashlib.sha256(model.value.path().read_bytes()).hexdigest() == output["sha256"]
    assert model.value.suggested_filename == output["filename"]
    assert zipfile.ZipFile(bundle.value.path()).testzip() is None
    assert json.loads(report.value.path().read_bytes())["output"]["sha256"] == output["sha256"]
    assert not model.value.url.startswith("blob:")  # it never was in the memory of the page
    assert not [url for url in asked if "a" * 32 in url]
    assert "a" * 32 not in page.content() + keyed.log.read_text()


def test_a_form_gives_a_file_to_its_key_only(keyed: Server, small: Path) -> None:
    with small.open("rb") as file:
        answer = keyed.http.post("/fuse?wait=60", files={"model": file}, headers=_AUTHORIZATION)
    address = answer.headers["location"].removeprefix("/v1")

    def refused(key: str, **headers: str) -> tuple[int, str]:
        answer = keyed.http.post(f"{address}/model", data={"key": key}, headers=headers)
        return answer.status_code, answer.json()["code"]

    assert refused("") == (401, "missing-key")
    assert refused("c" * 32) == (401, "invalid-key")
    assert refused("\N{KEY}\r\n") == (401, "invalid-key")
    assert refused("b" * 32) == (404, "job-not-found")
    assert refused("a" * 5000) == (400, "bad-request")
    assert refused("a" * 32, Origin="https://elsewhere.example") == (403, "cross-site")
    assert keyed.http.post(f"{address}/model", data={"key": "a" * 32}).status_code == 200


def test_a_key_that_is_revoked_meanwhile_is_told_and_another_asked_for(page: Page, locked: Server, tiny: Path) -> None:
    page.goto(locked.url)
    page.set_input_files("#model", tiny)
    page.get_by_role("button", name="Fuse", exact=True).click()
    _give(page, "a" * 32)
    expect(page.locator("#state")).to_have_text("waiting")
    page.evaluate("sessionStorage.setItem('fusebox.key', 'revoked')")

    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_role("dialog")).to_contain_text("not known, or was revoked")
    _give(page, "a" * 32)

    expect(page.locator("#state")).to_have_text("canceled")


def test_older_jobs_are_added_page_by_page(page: Page, keyed: Server) -> None:
    for number in range(10):
        files = {"model": (f"old{number}.pt", b"PK")}
        keyed.http.post("/fuse", files=files, headers={"Authorization": f"Bearer {'b' * 32}"})
    page.goto(keyed.url)
    page.get_by_role("button", name="Enter a key").click()
    _give(page, "b" * 32)
    expect(page.locator(".jobs li")).to_have_count(8)
    assert page.locator(".jobs .pill").first.evaluate("(one) => getComputedStyle(one).marginTop") == "0px"

    page.get_by_role("button", name="Older jobs").click()

    expect(page.locator(".jobs li")).to_have_count(10)
    names = page.locator(".jobs a").all_inner_texts()
    assert names == [f"old{number}.pt" for number in reversed(range(10))]
    expect(page.locator(".jobs a").nth(8)).to_be_focused()
    expect(page.get_by_role("button", name="Older jobs")).to_be_hidden()
