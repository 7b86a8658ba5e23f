"""A file that was sent stays at hand while the page is open: to be sent again with other options, or as proposed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from app.engine.zoo.operators import defined
from tests.e2e.conftest import Server


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of which the service can say whose they are."""
    defined()
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "resnet.pth"
    torch.save(models.resnet18(num_classes=2).state_dict(), path)
    return path


def _id(page: Page) -> str:
    return page.url.rpartition("/")[2]


def test_weights_are_sent_again_as_the_architecture_that_is_proposed(
    page: Page, service: Server, resnet: Path, send: Callable[[Path], None]
) -> None:
    send(resnet)
    first = page.url
    proposed = page.get_by_role("alert").get_by_role("button", name="torchvision/resnet18")
    expect(proposed).to_be_visible()
    proposed.click()

    expect(page.locator("#state")).to_have_text("fused")
    assert page.url != first
    job = service.job(_id(page))
    assert isinstance(job["options"], dict)
    assert job["options"]["architecture"] == "torchvision/resnet18"
    expect(page.get_by_role("heading", name="It computes the same")).to_be_visible()


def test_the_same_file_is_sent_again_with_other_options(
    page: Page, service: Server, weights: Path, send: Callable[[Path], None]
) -> None:
    page.goto(service.url)
    page.locator("#options > summary").click()
    page.get_by_label("float32").check()
    page.set_input_files("#model", weights)
    page.get_by_role("button", name="Fuse", exact=True).click()

    page.get_by_role("alert").get_by_role("button", name="Same file, other options").click()
    expect(page.locator("#chosen")).to_contain_text("weights.pth")
    expect(page.get_by_label("float32")).to_be_checked()
    expect(page).to_have_url(f"{service.url}/")
    page.get_by_label("Plan").fill('{"pairs": [{"conv": "0", "norm": "1"}], "eps": 1e-5}')
    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.locator("#state")).to_have_text("fused")
    options = service.job(_id(page))["options"]
    assert isinstance(options, dict)
    assert (options["dtype"], options["plan"]) == ("float32", '{"pairs": [{"conv": "0", "norm": "1"}], "eps": 1e-5}')


def test_the_way_back_leads_to_the_form_with_its_file_and_forward_to_the_job(
    page: Page, service: Server, small: Path, send: Callable[[Path], None]
) -> None:
    send(small)
    expect(page.locator(".report")).to_be_visible()
    address = page.url

    page.go_back()
    expect(page.locator("#chosen")).to_contain_text(small.name)
    expect(page.locator(".report")).to_have_count(0)
    expect(page.locator(".jobs")).to_contain_text(small.name)
    assert page.title() == "Fusebox: fuse a trained network"
    page.go_forward()
    expect(page.locator(".report")).to_be_visible()
    assert page.url == address

    page.reload()
    expect(page.locator(".report")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fuse a trained network")


def test_who_opens_the_address_of_a_job_has_its_options_on_the_form(
    browser: Browser, service: Server, resnet: Path
) -> None:
    job_id = service.upload(resnet, strict="true", max_error="1e-3")
    service.job(job_id, wait=60)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{service.url}/jobs/{job_id}")

    page.get_by_role("link", name="torchvision/resnet18").click()

    expect(page.get_by_label("Architecture")).to_have_value("torchvision/resnet18")
    expect(page.get_by_label("Only what is proved")).to_be_checked()
    expect(page.get_by_label("Largest error")).to_have_value("0.001")
    expect(page.locator("#changed")).to_have_text("3 changed")
    context.close()


def test_a_job_that_was_canceled_can_be_sent_again(
    page: Page, service: Server, long_job: Path, send: Callable[[Path], None]
) -> None:
    send(long_job)
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_role("button", name="Same file, other options").click()
    page.get_by_role("button", name="Fuse", exact=True).click()

    expect(page.locator(".phases")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#state")).to_have_text("canceled")
