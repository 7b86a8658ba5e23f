"""Real Chromium against a real `fusebox serve`: nothing on the page is stood in for."""

import lzma
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.conftest import Server

_ROOT = Path(__file__).resolve().parent.parent.parent
# It may be busy: one core fuses while the other draws.
expect.set_options(timeout=60_000)

# What Chromium says of answers that are problems: the page shows them.
_EXPECTED = re.compile(r"Failed to load resource|net::ERR_")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's own Chromium; as root it has no sandbox, and it must talk to nobody on its own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed")
    quiet = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update"
    more = [*quiet.split(), "--disable-sync", "--no-first-run"]
    return {**browser_type_launch_args, "executable_path": found, "args": more}


@pytest.fixture(scope="session")
def base_url() -> None:
    """None: pages are opened by their whole address. (The plugin's own fixture is of a kind that pytest warns of.)"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests; who stops it starts it again."""
    running = Server(tmp_path_factory.mktemp("browser") / "data", "serve", {})
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that asks for keys and takes small files only; it accepts jobs, and nobody works on them."""
    settings = {"FUSEBOX_API_KEYS": f"alice={'a' * 32},bob={'b' * 32}", "FUSEBOX_MAX_UPLOAD_BYTES": "100k"}
    running = Server(tmp_path_factory.mktemp("locked") / "data", "api", settings)
    running.start()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _stays_at_home(request: pytest.FixtureRequest, context: BrowserContext) -> Iterator[None]:
    """No request leaves the origin, no script fails, and nothing breaks the pages' own policy."""
    servers = [request.getfixturevalue(name) for name in ("service", "locked", "keyed") if name in request.fixturenames]
    own = (*(f"{server.url}/" for server in servers), "blob:", "data:", "file://", "about:")
    context.set_default_timeout(60_000)
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield
    assert [url for url in asked if not url.startswith(own)] == []
    assert [error for error in errors if not _EXPECTED.search(error)] == []


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv9 training checkpoint of the tests' own, with `ema` and an optimizer."""
    path = tmp_path_factory.mktemp("files") / "yolov9-triple.pt"
    path.write_bytes(lzma.decompress((_ROOT / "tests/data/yolov9/yolov9-triple.pt.xz").read_bytes()))
    return path


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of more than a thousand layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(300)]
    path = tmp_path_factory.mktemp("deep") / "deep.pt"
    torch.save(nn.Sequential(*blocks).eval(), path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict, which can't be fused without an architecture."""
    import torch
    from torch import nn

    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def fused(service: Server, small: Path) -> str:
    """The id of a job that has its report."""
    return _finished(service, small)


@pytest.fixture(scope="session")
def deep_job(service: Server, deep: Path) -> str:
    return _finished(service, deep)


def _finished(service: Server, path: Path) -> str:
    job_id = service.upload(path)
    assert service.job(job_id, wait=60)["state"] == "succeeded"
    return job_id


@pytest.fixture
def send(page: Page, service: Server) -> Callable[[Path], None]:
    """Upload a file by the page, and be on its job's page."""

    def through(path: Path) -> None:
        page.goto(service.url)
        page.set_input_files("#model", path)
        page.get_by_role("button", name="Fuse", exact=True).click()
        page.wait_for_url("**/jobs/*")

    return through
