"""What a real service says of its sandbox, and what it does with files that use too much."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Serve = Callable[..., Any]


def test_a_ready_service_says_that_its_children_are_confined(server: Any) -> None:
    health = server.http.get("/readyz").json()

    assert health["ready"]
    assert health["sandbox"] == "full"


def test_a_service_that_does_not_confine_says_so_and_works(serve: Serve, checkpoint: Path) -> None:
    server = serve(sandbox="off")

    assert server.http.get("/readyz").json()["sandbox"] == "off"
    assert server.job(server.upload(checkpoint), wait=60)["state"] == "succeeded"


def test_a_job_that_needs_more_memory_than_it_may_use_fails_at_once_with_that_reason(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(job_memory_bytes="80M")
    wide = torch.nn.Sequential(torch.nn.Conv2d(1024, 1024, 3), torch.nn.BatchNorm2d(1024)).eval()
    torch.save(wide, tmp_path / "wide.pt")

    ended = server.job(server.upload(tmp_path / "wide.pt"), wait=60)

    assert ended["state"] == "failed"
    assert ended["problem"]["code"] == "out-of-memory"
    assert ended["attempts"] == 1
