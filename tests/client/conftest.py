"""A real service for the client's tests, and files to send to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fusebox_client import Patience
from tests.client.proxy import Cut, Proxy
from tests.e2e.conftest import Server

QUICK = Patience(attempts=6, first=0.05, longest=0.5)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for the tests that leave it well."""
    running = Server(tmp_path_factory.mktemp("client") / "data", "serve", {})
    running.start()
    yield running
    running.close()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a service of the test's own: `own_service("serve", auth="required")`."""
    started: list[Server] = []

    def start(role: str = "serve", **settings: object) -> Server:
        given = {f"FUSEBOX_{name.upper()}": str(value) for name, value in settings.items()}
        started.append(Server(tmp_path / f"service{len(started)}", role, given))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def through(service: Server) -> Iterator[Callable[..., Proxy]]:
    """A way to the service that is cut: `through(Cut(down=1000))` cuts the first connection; the others are well."""
    made: list[Proxy] = []

    def way(*cuts: Cut, **more: Any) -> Proxy:
        made.append(Proxy(service.port, lambda number: cuts[number] if number < len(cuts) else Cut(), **more).start())
        return made[-1]

    yield way
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some 5 MB: large enough to be cut in its middle."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("large") / "large.pt"
    layers = [nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
    more = [nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
    torch.save(nn.Sequential(*layers, *more).eval(), path)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few kB with statistics of its own."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    norm = nn.BatchNorm2d(6)
    nn.init.normal_(norm.weight, 1, 0.2)
    nn.init.normal_(norm.bias)
    norm.running_mean = torch.randn(6)
    norm.running_var = torch.rand(6) + 0.5
    path = tmp_path_factory.mktemp("small") / "small.pt"
    torch.save(nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU()).eval(), path)
    return path
