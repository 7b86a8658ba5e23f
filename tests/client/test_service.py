"""The client against a real service: the main job, its problems, keys."""

import asyncio
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from app.report import Report
from fusebox_client import (
    AsyncFusebox,
    Fusebox,
    FuseReport,
    JobCanceled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobView,
    NotEquivalent,
    Progress,
    RefusedRequest,
    StillRunning,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from fusebox_client.options import UnknownOption
from tests.client.conftest import QUICK
from tests.e2e.conftest import Server


@pytest.fixture
def fusebox(service: Server) -> "Fusebox":
    return Fusebox(service.url, patience=QUICK)


def test_one_line_turns_a_checkpoint_into_a_fused_one(fusebox: Fusebox, small: Path, tmp_path: Path) -> None:
    path = fusebox.fuse(small).download(tmp_path / "out" / "fused.pt")

    before, after = (torch.load(one, weights_only=False) for one in (small, path))
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in after)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(after(x), before(x), rtol=1e-4, atol=1e-5)
    assert [one.name for one in path.parent.iterdir()] == ["fused.pt"]


def test_the_same_works_where_others_run_meanwhile(service: Server, small: Path, tmp_path: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def fuse() -> tuple[FuseReport, list[Path]]:
        ticking = asyncio.create_task(tick())
        async with AsyncFusebox(service.url, patience=QUICK) as fusebox:
            jobs = await asyncio.gather(*(fusebox.fuse(small, filename=f"n{n}.pt") for n in range(3)))
            paths = await asyncio.gather(*(job.download(tmp_path) for job in jobs))
            report = await jobs[0].report()
        ticking.cancel()
        return report, list(paths)

    report, paths = asyncio.run(fuse())

    assert [path.name for path in paths] == [f"n{n}.fused.pt" for n in range(3)]
    assert hashlib.sha256(paths[0].read_bytes()).hexdigest() == report.output.sha256
    assert ticks > 3


def test_the_report_is_typed_and_says_what_the_service_says(fusebox: Fusebox, small: Path) -> None:
    job = fusebox.fuse(small)
    report, truth = job.report(), Report.model_validate(job.report_json())

    assert report.summary.batch_norms_after == truth.summary.batch_norms_after == 0
    assert [one.path for one in report.replaced] == [one.path for one in truth.replaced]
    assert report.equivalence is not None
    assert truth.equivalence is not None
    assert report.equivalence.native.relative == truth.equivalence.native.relative
    assert report.input.sha256 == hashlib.sha256(small.read_bytes()).hexdigest()


def test_who_waits_hears_of_each_change_once_and_of_the_end(fusebox: Fusebox, small: Path) -> None:
    heard: list[JobView] = []

    job = fusebox.fuse(small)
    job.wait(heard=heard.append)

    assert heard[-1].state == job.state == "succeeded"
    assert all(one != other for one, other in pairwise(heard))


def test_progress_is_told_of_upload_and_download(fusebox: Fusebox, large: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []

    path = fusebox.fuse(large, progress=heard.append).download(tmp_path, progress=heard.append)

    up, down = ([one for one in heard if one.direction == way] for way in ("upload", "download"))
    assert up[-1].done == up[-1].total == large.stat().st_size
    assert down[-1].done == down[-1].total == path.stat().st_size


def test_a_job_that_fails_raises_its_problem_with_code_and_remedy(fusebox: Fusebox, tmp_path: Path) -> None:
    notes = tmp_path / "notes.pt"
    notes.write_text("These are notes, not weights.")
    job = fusebox.fuse(notes)

    for result in (job.wait, job.report, job.download):
        with pytest.raises(JobFailed) as caught:
            result()
        assert caught.value.code == "unsupported-format"
        assert caught.value.problem.remedy
        assert caught.value.problem.remedy.rstrip(".") in str(caught.value)


def test_an_error_above_the_callers_limit_is_an_exception_of_its_own(fusebox: Fusebox, small: Path) -> None:
    with pytest.raises(NotEquivalent) as caught:
        fusebox.fuse(small, max_error=1e-12).wait()

    assert caught.value.problem.facts["equivalence"]["passed"] is False


def test_options_reach_the_service_and_unknown_ones_do_not(fusebox: Fusebox, small: Path) -> None:
    job = fusebox.fuse(small, strict=True, dtype="float32", max_error=0.5, plan=None)

    assert {"strict": True, "dtype": "float32", "max_error": 0.5, "plan": None}.items() <= job.view.options.items()
    with pytest.raises(UnknownOption, match="max_eror"):
        fusebox.fuse(small, max_eror=1)  # type: ignore[call-arg]  # the mistake is meant


def test_an_option_that_can_not_be_is_refused_with_its_remedy(fusebox: Fusebox, small: Path) -> None:
    with pytest.raises(RefusedRequest) as caught:
        fusebox.fuse(small, max_error=-1)

    assert caught.value.code == "invalid-option"


def test_a_canceled_job_and_a_forgotten_one_say_so(fusebox: Fusebox, small: Path, long_job: Path) -> None:
    running, done = fusebox.fuse(long_job).cancel(), fusebox.fuse(small).wait().cancel()

    assert (running.state, done.state) == ("canceled", "expired")
    with pytest.raises(JobCanceled):
        running.download()
    with pytest.raises(JobExpired):
        done.download()


def test_files_that_are_gone_meanwhile_are_told_as_such(fusebox: Fusebox, small: Path) -> None:
    job = fusebox.fuse(small).wait()
    fusebox.job(job.id).cancel()

    for result in (job.download, job.bundle, job.report):
        with pytest.raises(JobExpired):
            result()


def test_a_wait_that_is_too_short_ends_and_the_job_goes_on(fusebox: Fusebox, long_job: Path) -> None:
    job = fusebox.fuse(long_job)

    with pytest.raises(StillRunning, match="goes on"):
        job.wait(timeout=0.2)

    assert job.refresh().state in ("queued", "running")
    assert job.cancel().state == "canceled"


def test_a_job_is_found_again_by_its_id(fusebox: Fusebox, small: Path) -> None:
    job = fusebox.fuse(small)

    assert fusebox.job(job.id).view.input == job.view.input
    assert job.id in job.url
    for unknown in ("0" * 32, "../../readyz", "a/b?c#d"):
        with pytest.raises(JobNotFound):
            fusebox.job(unknown)


def test_jobs_are_listed_page_by_page_the_newest_first(service: Server, small: Path, tmp_path: Path) -> None:
    fusebox = Fusebox(service.url, patience=QUICK)
    made = [fusebox.fuse(small, filename=f"listed-{number}.pt").wait().id for number in range(5)]
    (tmp_path / "notes.pt").write_text("These are notes.")
    failed = fusebox.fuse(tmp_path / "notes.pt").watch().id

    async def first_async() -> str:
        async with AsyncFusebox(service.url, patience=QUICK) as others:
            async for job in others.jobs(page_size=1):
                return job.id
        return ""

    assert [job.id for job in islice(fusebox.jobs(page_size=2), 6)] == [failed, *reversed(made)]
    assert next(fusebox.jobs(state="failed")).id == failed
    assert asyncio.run(first_async()) == failed
    everything = [job.id for job in fusebox.jobs(page_size=100)]
    assert [job.id for job in fusebox.jobs(page_size=3)] == everything
    assert len(set(everything)) == len(everything)


def test_the_callers_own_inputs_are_those_of_the_comparison(fusebox: Fusebox, small: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, np.random.default_rng(0).normal(size=(3, 3, 12, 14)).astype(np.float32))

    report = fusebox.fuse(small, probe=inputs).report()

    assert report.equivalence is not None
    assert report.equivalence.probe.source == "caller"
    assert report.equivalence.probe.shape == ((3, 3, 12, 14),)


def test_latency_is_measured_where_it_is_asked_for(fusebox: Fusebox, small: Path) -> None:
    report = fusebox.fuse(small, benchmark=True).report()

    assert report.latency is not None
    assert report.latency.rows[0].before_ms > 0
    assert report.latency.sentence


def test_a_bundle_holds_file_and_report(fusebox: Fusebox, small: Path, tmp_path: Path) -> None:
    job = fusebox.fuse(small)

    path = job.bundle(tmp_path)

    assert path.name == "small.fused.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("report.json")) == job.report_json()
        assert job.view.output is not None
        content = archive.read(job.view.output.filename)
    assert hashlib.sha256(content).hexdigest() == job.view.output.sha256


def test_the_url_of_a_job_is_that_of_its_page(fusebox: Fusebox, service: Server, small: Path) -> None:
    job = fusebox.fuse(small)

    assert job.url == f"{service.url}/jobs/{job.id}"
    assert job.cancel().state in ("canceled", "expired")


def test_a_key_is_needed_where_the_service_asks_for_one(own_service: Callable[..., Server], small: Path) -> None:
    key = "k" * 40
    service = own_service("api", auth="required", api_keys=f"ci={key}")

    with pytest.raises(Unauthorized, match="missing-key"):
        Fusebox(service.url).fuse(small)
    with pytest.raises(Unauthorized, match="invalid-key"):
        Fusebox(service.url, "no").fuse(small)
    job = Fusebox(service.url, key).fuse(small)
    assert Fusebox(service.url, key).job(job.id).state == "queued"
    assert key not in repr(Fusebox(service.url, key).connection)


def test_nobody_at_home_and_somebody_else_at_home_are_told_apart(service: Server, small: Path, tmp_path: Path) -> None:
    told: list[str] = []
    patience = type(QUICK)(attempts=2, first=0.01, told=lambda reason, _seconds: told.append(reason))
    with pytest.raises(Unreachable, match="does not answer"):
        Fusebox("http://127.0.0.1:1", patience=patience).fuse(small)
    assert len(told) == 1

    with pytest.raises(UnexpectedAnswer, match="is that a Fusebox service"):
        Fusebox(f"{service.url}/livez?x=", patience=QUICK).job("1")


def test_the_client_stands_alone() -> None:
    program = (
        "import sys, fusebox_client, fusebox_client.cli.main\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'numpy', 'app', 'pydantic'}))"
    )

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "[]"
