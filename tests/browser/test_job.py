"""A job's page while the job goes on: phases as they happen, through restarts, to its end or its problem."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server


def test_a_running_job_shows_what_was_recognised_and_its_phases(
    page: Page, service: Server, long_job: Path, send: Callable[[Path], None]
) -> None:
    send(long_job)

    expect(page.locator(".recognised")).to_contain_text("200 batch norms")
    expect(page.locator(".phases [aria-current=step]")).to_have_count(1)
    expect(page.locator("#announced")).not_to_be_empty()
    page.get_by_role("button", name="Cancel the job").click()

    expect(page.locator("#state")).to_have_text("canceled")
    expect(page.get_by_role("alert")).to_contain_text("job-canceled")
    service.until(lambda: service.job(page.url.rsplit("/", 1)[1])["state"] == "canceled")


def test_the_page_goes_on_by_itself_after_a_restart_of_the_service(page: Page, service: Server, long_job: Path) -> None:
    job_id = service.upload(long_job)
    page.goto(f"{service.url}/jobs/{job_id}")
    expect(page.locator(".phases")).to_be_visible()

    service.kill()
    expect(page.locator("#lost")).to_contain_text("The connection to the service is lost")
    service.start()

    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("fused", timeout=60_000)
    expect(page.get_by_role("heading", name="It computes the same")).to_be_visible()


def test_a_job_that_fails_shows_why_what_to_do_and_the_code(
    page: Page, weights: Path, send: Callable[[Path], None]
) -> None:
    send(weights)

    problem = page.get_by_role("alert")
    expect(problem.get_by_role("heading", name="The file holds weights without the model")).to_be_visible()
    expect(problem).to_contain_text("architecture=NAME")
    expect(problem).to_contain_text("state-dict-needs-model")
    problem.get_by_role("link", name="Fuse another file").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fuse a trained network")


def test_an_id_that_is_none_is_told(page: Page, service: Server) -> None:
    page.goto(f"{service.url}/jobs/none-of-them")

    expect(page.get_by_role("alert")).to_contain_text("job-not-found")


def test_a_finished_job_can_be_deleted(page: Page, small: Path, send: Callable[[Path], None]) -> None:
    send(small)
    expect(page.locator(".report")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())

    page.get_by_role("button", name="Delete").click()

    expect(page.locator("#state")).to_have_text("expired")
    expect(page.get_by_role("alert")).to_contain_text("job-expired")
    expect(page.locator(".report")).to_have_count(0)
