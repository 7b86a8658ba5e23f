"""The upload page: a file is chosen or dropped, looked at, sent, and may be called back."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.conftest import Server

_DROP = """([name, content, ...others]) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const held = new DataTransfer();
  for (const one of [name, ...others]) held.items.add(new File([bytes], one));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector("h1").dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: held }));
  }
}"""  # noqa: E501


def _slow_upload(context: BrowserContext, page: Page, bytes_a_second: int) -> None:
    network = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", network)


def test_a_chosen_file_is_sent_recognised_and_fused(page: Page, small: Path, send: Callable[[Path], None]) -> None:
    send(small)

    expect(page.get_by_role("heading", level=1)).to_have_text("yolov9-triple.pt")
    expect(page.locator("#state")).to_have_text("fused")
    expect(page.get_by_role("heading", name="It computes the same")).to_be_visible()


def test_a_file_that_is_dropped_anywhere_on_the_page_is_chosen(page: Page, service: Server, small: Path) -> None:
    page.goto(service.url)

    page.evaluate(_DROP, ["dropped.pt", base64.b64encode(small.read_bytes()).decode()])
    expect(page.locator("#chosen")).to_contain_text("dropped.pt")
    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("dropped.pt")
    expect(page.locator("#state")).to_have_text("fused")


def test_while_it_is_sent_the_page_tells_how_fast_and_how_long_and_can_stop_it(
    page: Page, context: BrowserContext, service: Server, tmp_path: Path
) -> None:
    large = tmp_path / "large.pt"
    large.write_bytes(bytes(4_000_000))
    kept = service.blobs()
    page.goto(service.url)
    _slow_upload(context, page, 400_000)
    page.set_input_files("#model", large)
    page.get_by_role("button", name="Fuse", exact=True).click()

    told = page.locator("#pace")
    expect(told).to_contain_text("of 4.00 MB")
    expect(told).to_contain_text("kB/s")
    expect(told).to_contain_text("left")
    assert 0 < float(page.locator("#sent").get_attribute("value") or 0) < 1
    page.get_by_role("button", name="Cancel the upload").click()

    expect(page.locator("#before")).to_have_text("The upload was canceled. Nothing of it is kept.")
    expect(page.get_by_role("button", name="Fuse", exact=True)).to_be_focused()
    service.until(lambda: service.blobs() == kept)

    page.get_by_role("button", name="Fuse", exact=True).click()
    expect(page.locator("#before")).to_have_text("")


def test_a_value_that_an_option_can_not_have_is_told_with_what_to_do(page: Page, service: Server, small: Path) -> None:
    page.goto(service.url)
    page.set_input_files("#model", small)
    page.locator("#options > summary").click()
    page.get_by_label("Largest error").fill("a lot")
    expect(page.locator("#changed")).to_have_text("1 changed")
    page.get_by_role("button", name="Fuse", exact=True).click()

    problem = page.get_by_role("alert")
    expect(problem.get_by_role("heading", name="An option is not valid")).to_be_visible()
    expect(problem).to_contain_text("a lot")
    expect(problem).to_contain_text("What to do")
    expect(problem).to_contain_text("invalid-option")
    expect(page.locator("#chosen")).to_contain_text("yolov9-triple.pt")


def test_a_chosen_option_reaches_the_job(page: Page, service: Server, small: Path) -> None:
    page.goto(service.url)
    page.set_input_files("#model", small)
    page.locator("#options > summary").click()
    page.get_by_label("float32").check()
    page.get_by_label("Only what is proved").check()
    page.get_by_label("Largest error").fill("1e-2")
    page.get_by_role("button", name="Fuse", exact=True).click()
    page.wait_for_url("**/jobs/*")

    options = service.job(page.url.rsplit("/", 1)[1])["options"]
    assert isinstance(options, dict)
    assert (options["dtype"], options["strict"], options["max_error"]) == ("float32", True, 0.01)


def test_the_file_of_a_service_that_is_away_can_be_sent_again(page: Page, service: Server, small: Path) -> None:
    page.goto(service.url)
    page.set_input_files("#model", small)
    page.context.set_offline(True)
    page.get_by_role("button", name="Fuse", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")

    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()

    expect(page.locator("#state")).to_have_text("fused")


def test_the_newest_jobs_stand_on_the_page(page: Page, service: Server, small: Path) -> None:
    job_id = service.upload(small)
    page.goto(service.url)

    page.locator(f'.jobs a[href="/jobs/{job_id}"]').click()

    expect(page.locator("#state")).to_have_text("fused")


def test_inputs_of_the_callers_own_are_what_the_report_is_about(
    page: Page, service: Server, small: Path, tmp_path: Path
) -> None:
    import numpy as np

    inputs = tmp_path / "inputs.npy"
    np.save(inputs, np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32))
    page.goto(service.url)
    page.set_input_files("#model", small)
    page.locator("#options > summary").click()
    page.get_by_label("Your own inputs").set_input_files(inputs)
    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.locator(".verdict")).to_contain_text("on the inputs that you sent of 1 × 3 × 64 × 96")


def test_what_can_not_be_sent_is_told_before_it_is_tried(page: Page, service: Server, tmp_path: Path) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    page.goto(service.url)

    page.set_input_files("#model", tmp_path / "empty.pt")

    expect(page.locator("#before")).to_have_text("The file is empty.")
    expect(page.get_by_role("button", name="Fuse", exact=True)).to_be_disabled()


def test_of_several_files_the_first_is_taken_and_that_is_told(page: Page, service: Server) -> None:
    page.goto(service.url)

    page.evaluate(_DROP, ["one.pt", "AAAA", "two.pt"])

    expect(page.locator("#chosen")).to_contain_text("one.pt")
    expect(page.locator("#before")).to_contain_text("of the 2 that were dropped, this is the first")


def test_a_file_that_is_gone_when_it_is_sent_is_told_as_that(page: Page, service: Server, tmp_path: Path) -> None:
    path = tmp_path / "gone.pt"
    path.write_bytes(bytes(1000))
    page.goto(service.url)
    page.set_input_files("#model", path)
    path.unlink()

    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("The file can not be read")
    expect(page.get_by_role("alert")).to_contain_text("file-unreadable")


def test_without_scripts_the_form_sends_the_file_all_the_same(browser: Browser, service: Server, small: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    expect(page.get_by_text("Without JavaScript the form sends the file all the same")).to_be_visible()
    expect(page.get_by_role("button", name="Dark colours")).to_be_hidden()
    page.set_input_files("#model", small)
    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.locator("body")).to_contain_text("/model?wait=120")
    job_id = json.loads(page.locator("pre").inner_text())["id"]
    assert service.job(job_id, wait=60)["state"] == "succeeded"
    page.goto(f"{service.url}/jobs/{job_id}")
    page.get_by_role("link", name="its report").click()
    expect(page.locator("body")).to_contain_text("Fusebox")
    context.close()
