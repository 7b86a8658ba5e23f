"""Dark and light, wide and narrow, and what a screen reader is told: by axe-core, on every state of the pages."""

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from torch import nn

from app.report import Report
from app.report.latency import Latency, LatencyRow
from app.web.report_page import report_html
from tests.e2e.conftest import Server

_PHONE = {"width": 375, "height": 812}


def _is_accessible(page: Page) -> None:
    # Chromium: what is beneath a fold can't be judged before it is scrolled to.
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def _fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


@pytest.fixture(params=["light", "dark"])
def coloured(request: pytest.FixtureRequest, page: Page) -> Page:
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    return page


def test_the_upload_page_is_accessible(coloured: Page, service: Server, fused: str) -> None:
    coloured.goto(service.url)
    expect(coloured.locator(".jobs")).to_be_visible()
    coloured.locator("#options > summary").click()

    _is_accessible(coloured)
    coloured.set_viewport_size(_PHONE)
    _fits(coloured)


def test_a_report_is_accessible(coloured: Page, service: Server, fused: str) -> None:
    coloured.goto(f"{service.url}/jobs/{fused}")
    expect(coloured.locator(".report")).to_be_visible()
    for chart in coloured.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        expect(chart.locator("canvas")).to_be_visible()
    for summary in coloured.locator(".report summary").all():
        summary.click()
    coloured.get_by_role("treegrid").focus()
    coloured.keyboard.press("ArrowDown")

    _is_accessible(coloured)
    coloured.set_viewport_size(_PHONE)
    _fits(coloured)
    _is_accessible(coloured)


def test_measured_speed_is_accessible(page: Page, service: Server, fused: str, tmp_path: Path) -> None:
    report = Report.model_validate_json(service.http.get(f"/v1/jobs/{fused}/report").text)
    row = LatencyRow(batch=1, shape=((1, 3, 8, 8),), before_ms=2, after_ms=1, ratio=2, spread=(1.9, 2.1), repeats=3)
    told = {"device": "cpu", "dtype": "float32", "threads": 1, "runtime": "torch", "warmup": 1, "repeats": 3}
    measured = Latency(rows=(row,), sentence="It runs twice as fast.", **told)
    file = tmp_path / "report.html"
    file.write_text(report_html(report.model_copy(update={"latency": measured})), encoding="utf-8")

    page.goto(file.as_uri())

    expect(page.get_by_role("region", name="Speed, figures")).to_contain_text("2.00 ×")
    _is_accessible(page)


def test_names_of_any_length_do_not_widen_a_page(
    coloured: Page, service: Server, tmp_path: Path, send: Callable[[Path], None]
) -> None:
    long = tmp_path / f"{'W' * 200}.pt"
    layers = {"z" * 300: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "<b>x</b>\n": nn.BatchNorm2d(4)}
    torch.save(nn.Sequential(OrderedDict(layers)).eval(), long)
    coloured.set_viewport_size(_PHONE)

    send(long)
    expect(coloured.locator(".charts")).to_be_visible()
    _fits(coloured)

    job_id = coloured.url.rpartition("/")[2]
    coloured.goto(f"{service.url}/v1/jobs/{job_id}/report.html")
    expect(coloured.locator(".charts")).to_be_visible()
    _fits(coloured)
    assert coloured.locator("main b").filter(has_text="x").count() == 0


def test_a_job_that_runs_and_one_that_failed_are_accessible(
    coloured: Page, service: Server, long_job: Path, weights: Path, send: Callable[[Path], None]
) -> None:
    send(long_job)
    expect(coloured.locator(".recognised dl")).to_be_visible()
    _is_accessible(coloured)
    coloured.set_viewport_size(_PHONE)
    _fits(coloured)
    coloured.get_by_role("button", name="Cancel the job").click()
    send(weights)
    expect(coloured.get_by_role("alert")).to_contain_text("state-dict-needs-model")

    _is_accessible(coloured)
    _fits(coloured)


def test_colours_that_the_system_forces_leave_the_charts_and_the_choice_to_be_told(
    page: Page, service: Server, fused: str
) -> None:
    page.emulate_media(forced_colors="active")
    page.goto(f"{service.url}/jobs/{fused}")
    page.locator(".chart").nth(1).scroll_into_view_if_needed()
    expect(page.locator(".chart").nth(1).locator("canvas")).to_be_visible()

    background = "(one) => getComputedStyle(one).backgroundColor"
    chips = page.locator(".tools .chip")
    assert chips.nth(0).evaluate(background) != chips.nth(1).evaluate(background)
    # The bars before and after: pale and strong.
    marks = page.locator(".chart").nth(1).locator(".u-marker")
    filled = {marks.nth(index).evaluate(background) for index in range(marks.count())}
    assert len(filled) >= 2


def test_the_dialog_that_asks_for_a_key_is_accessible(coloured: Page, locked: Server) -> None:
    coloured.goto(locked.url)
    coloured.get_by_role("button", name="Key", exact=True).click()
    expect(coloured.get_by_role("dialog")).to_be_visible()

    _is_accessible(coloured)


def test_the_system_decides_on_dark_colours_until_the_button_does(browser: Browser, service: Server) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(service.url)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    button = page.get_by_role("button", name="Dark colours")
    expect(button).to_have_attribute("aria-pressed", "true")

    button.click()
    light = page.evaluate(paper)
    page.reload()

    assert _brightness(dark) < 60 < 200 < _brightness(light)
    assert page.evaluate(paper) == light
    context.close()


def _brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (red + green + blue) / 3


def test_everything_on_the_upload_page_is_reached_by_keys(page: Page, service: Server, small: Path) -> None:
    page.goto(service.url)
    page.set_input_files("#model", small)
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))

    assert reached[0] == "Skip to the content"
    assert [one for one in reached if one in ("theme-button", "model", "submit")] == ["theme-button", "model", "submit"]


def test_the_first_sight_of_the_page_is_small(page: Page, service: Server) -> None:
    """What the upload page and all that it loads take on the wire."""
    page.goto(service.url, wait_until="networkidle")

    sizes = "performance.getEntries().filter((one) => one.transferSize).map((one) => [one.name, one.transferSize])"
    taken = page.evaluate(sizes)
    assert len(taken) > 5
    assert sum(size for _, size in taken) < 150_000, taken
