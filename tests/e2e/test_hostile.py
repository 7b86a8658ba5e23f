"""Hostile files by HTTP: each is answered by name, no process of the service is lost, and good files go through."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Server
from tests.hostile.corpus import Case, assemble, corpus

_EVERY = 11  # of the light ones: about seventy
_GOOD_EVERY = 25


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Path]:
    canaries = tmp_path_factory.mktemp("canaries")
    return list(corpus(canaries, heavy=False))[::_EVERY], canaries


def _answered(server: Server, content: bytes, **form: str) -> dict[str, object]:
    """The job as it ends."""
    sent = server.http.post("/fuse", files={"model": ("model.pt", content)}, data=form)
    if sent.status_code != 202:
        return {"state": "refused", "problem": sent.json()}
    return server.job(sent.json()["id"], wait=50)


def test_no_hostile_file_takes_anything_down_and_good_ones_are_fused_beside_them(
    server: Server, cases: tuple[list[Case], Path], checkpoint: Path
) -> None:
    hostile, canaries = cases
    pids = [server.pid, server.role("api"), server.role("worker"), server.warm_parent()]
    good = checkpoint.read_bytes()

    for number, case in enumerate(hostile):
        job = _answered(server, case.content, **dict(case.options))
        problem = job["problem"]
        assert isinstance(problem, dict), (case.name, job)
        assert 400 <= problem["status"] < 500, (case.name, problem)
        if number % _GOOD_EVERY == _GOOD_EVERY - 1:
            assert _answered(server, good)["state"] == "succeeded", f"after {case.name}"

    assert [server.pid, server.role("api"), server.role("worker"), server.warm_parent()] == pids
    assert list(canaries.iterdir()) == []


def test_a_name_that_the_operator_allows_is_let_through(serve: Callable[..., Server]) -> None:
    called = assemble.beside_model(assemble.calls("my.package.make", 1))
    strict: Server = serve()
    refused = _answered(strict, called)["problem"]
    assert isinstance(refused, dict)
    assert (refused["code"], refused["names"]) == ("unsafe-globals", ["my.package.make"])
    strict.stop()

    lenient: Server = serve(allowed_globals="my.package.*")
    job = _answered(lenient, called)
    assert job["state"] == "succeeded", job
    with httpx.Client(base_url=lenient.url) as client:
        report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert "my.package.make" in report["globals"]
