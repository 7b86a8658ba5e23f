"""The client over connections that break, through a real proxy that cuts them, and over restarts of the service."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from fusebox_client import (
    AsyncFusebox,
    DigestMismatch,
    Fusebox,
    IdempotencyKeyReused,
    Job,
    JobView,
    Progress,
    Unreachable,
)
from tests.client.conftest import QUICK
from tests.client.proxy import Cut, Proxy
from tests.e2e.conftest import Server

Through = Callable[..., Proxy]


@pytest.fixture(scope="module")
def fused(service: Server, large: Path) -> Job:
    """A finished job with a file of some 5 MB."""
    return Fusebox(service.url).fuse(large).wait()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ranges(proxy: Proxy) -> list[int]:
    """Where each GET of a file began, by its Range header."""
    lines = [head.decode().lower().split("\r\n") for head in proxy.heads if head.startswith(b"GET")]
    asked = [[line for line in head if line.startswith("range:")] for head in lines if "/model" in head[0]]
    return [int(one[0].removeprefix("range: bytes=").rstrip("-")) if one else 0 for one in asked]


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_goes_on_where_it_was_cut(fused: Job, through: Through, tmp_path: Path, reset: bool) -> None:
    proxy = through(*(Cut(down=count, reset=reset) for count in (1_500_000, 1_500_000, 700_000, 30)))
    heard: list[Progress] = []

    path = Fusebox(proxy.url, patience=QUICK).job(fused.id).download(tmp_path, progress=heard.append)

    assert fused.view.output is not None
    assert _digest(path) == fused.view.output.sha256
    starts = _ranges(proxy)
    assert len(starts) >= 4
    assert starts == sorted(starts)
    # A reset throws away what has arrived and was not read yet; an end in order does not.
    assert reset or starts[1] > 1_000_000
    assert heard[-1].done == heard[-1].total
    assert heard[-1].resumed > 0


def test_the_same_holds_for_the_async_client(fused: Job, through: Through, tmp_path: Path) -> None:
    proxy = through(Cut(down=1_500_000), Cut(down=900_000))

    async def download() -> Path:
        async with AsyncFusebox(proxy.url, patience=QUICK) as fusebox:
            return await (await fusebox.job(fused.id)).download(tmp_path)

    path = asyncio.run(download())

    assert fused.view.output is not None
    assert _digest(path) == fused.view.output.sha256
    assert len(_ranges(proxy)) == 3


def test_a_later_process_goes_on_where_an_earlier_one_gave_up(fused: Job, through: Through, tmp_path: Path) -> None:
    once = type(QUICK)(attempts=1)
    with pytest.raises(Unreachable):
        Fusebox(through(Cut(down=2_000_000)).url, patience=once).job(fused.id).download(tmp_path / "out.pt")
    (part,) = tmp_path.iterdir()
    assert 1_000_000 < part.stat().st_size < 2_000_000
    assert part.name != "out.pt"

    proxy = through()
    path = Fusebox(proxy.url, patience=once).job(fused.id).download(tmp_path / "out.pt")

    assert fused.view.output is not None
    assert _digest(path) == fused.view.output.sha256
    assert _ranges(proxy)[0] > 1_000_000
    assert [one.name for one in tmp_path.iterdir()] == ["out.pt"]


def test_what_an_earlier_process_left_broken_is_fetched_anew(fused: Job, through: Through, tmp_path: Path) -> None:
    assert fused.view.output is not None
    sha256 = fused.view.output.sha256
    (tmp_path / f".out.pt.{sha256[:16]}.part").write_bytes(b"other bytes" * 1000)

    proxy = through()
    path = Fusebox(proxy.url, patience=QUICK).job(fused.id).download(tmp_path / "out.pt")

    assert _digest(path) == sha256
    assert _ranges(proxy) == [11_000, 0]


def test_bytes_that_change_on_the_way_never_get_the_files_name(service: Server, large: Path, tmp_path: Path) -> None:
    job = Fusebox(service.url).fuse(large).wait()
    assert job.view.output is not None
    (blob,) = (path for path in (service.data_dir / "blobs").rglob(f"*{job.id}*/**/*") if _is(path, job))
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)

    with pytest.raises(DigestMismatch, match="nothing was kept"):
        job.download(tmp_path / "out.pt")

    assert list(tmp_path.glob("*out.pt*")) == []


def _is(path: Path, job: Job) -> bool:
    return path.is_file() and job.view.output is not None and _digest(path) == job.view.output.sha256


def test_an_upload_that_is_cut_is_sent_again(service: Server, through: Through, large: Path) -> None:
    proxy = through(Cut(up=1_000_000), Cut(up=2_000_000, reset=True))
    heard: list[Progress] = []

    job = Fusebox(proxy.url, patience=QUICK).fuse(large, progress=heard.append)

    assert job.view.input.sha256 == _digest(large)
    keys = [line for head in proxy.heads for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert [one.done for one in heard].count(0) == 3
    job.cancel()


def test_an_upload_whose_answer_is_lost_is_one_job(service: Server, through: Through, small: Path) -> None:
    proxy = through(Cut(down=1), Cut(down=20, reset=True))

    job = Fusebox(proxy.url, patience=QUICK).fuse(small, filename="once.pt")

    assert proxy.connections >= 3
    listed = islice(Fusebox(service.url).jobs(), 20)
    assert [one.id for one in listed if one.view.input.filename == "once.pt"] == [job.id]


def test_the_same_name_of_an_upload_is_the_same_job_and_another_file_is_refused(
    service: Server, small: Path, large: Path
) -> None:
    fusebox = Fusebox(service.url, patience=QUICK)
    first = fusebox.fuse(small, idempotency_key="train/42", strict=True)

    assert fusebox.fuse(small, idempotency_key="train/42", strict=True).id == first.id
    for odd in ('train/"43"\\', "größe", "x" * 300):
        again = fusebox.fuse(small, idempotency_key=odd)
        assert again.id != first.id
        assert fusebox.fuse(small, idempotency_key=odd).id == again.id
    with pytest.raises(IdempotencyKeyReused):
        fusebox.fuse(large, idempotency_key="train/42", strict=True)
    with pytest.raises(IdempotencyKeyReused):
        fusebox.fuse(small, idempotency_key="train/42")


def test_who_waits_goes_on_waiting_while_the_service_restarts(own_service: Callable[..., Server], small: Path) -> None:
    service = own_service("api")
    job = Fusebox(service.url, patience=type(QUICK)(attempts=20, first=0.2, longest=2)).fuse(small)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.watch, timeout=120)
        time.sleep(0.5)
        service.kill()
        service.start()
        assert not waiting.done()
        Fusebox(service.url).job(job.id).cancel()

        assert waiting.result().state == "canceled"


def test_events_that_break_off_go_on_where_they_were(through: Through, small: Path) -> None:
    seen: list[bytes] = []

    def snaps(piece: bytes) -> bool:
        """The first three pieces that tell of work, and not of its end as well."""
        if b"event: job" in piece and b'"state":"running"' in piece and b'"state":"succeeded"' not in piece:
            seen.append(piece)
        return seen[-1:] == [piece] and len(seen) <= 3

    proxy = through(snaps=snaps)
    heard: list[JobView] = []

    Fusebox(proxy.url, patience=QUICK).fuse(small).wait(heard=heard.append)

    assert heard[-1].state == "succeeded"
    changes = [(view.stage, view.recognised) for view in heard]
    assert len(set(changes)) == len(changes)
    asked = [head for head in proxy.heads if b"/events" in head.partition(b"\r\n")[0]]
    # A quick job tells of its work fewer than three times.
    assert len(asked) == min(len(seen), 3) + 1 >= 2
    ids = [head.lower().partition(b"last-event-id: ")[2].partition(b"\r\n")[0] for head in asked]
    assert ids[0] == b""
    assert [int(one) for one in ids[1:]] == sorted(int(one) for one in ids[1:])
    assert not [head for head in proxy.heads if b"?wait=" in head.partition(b"\r\n")[0]]


def test_where_events_do_not_come_through_the_service_is_asked_instead(through: Through, small: Path) -> None:
    proxy = through(denied=b"/events")
    heard: list[JobView] = []

    job = Fusebox(proxy.url, patience=QUICK).fuse(small).wait(heard=heard.append)

    assert job.state == heard[-1].state == "succeeded"
    assert [head for head in proxy.heads if b"?wait=" in head.partition(b"\r\n")[0]]


def test_who_stops_waiting_leaves_the_client_usable(service: Server, long_job: Path) -> None:
    async def stop() -> str:
        async with AsyncFusebox(service.url, patience=QUICK) as fusebox:
            job = await fusebox.fuse(long_job)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(job.wait(), 0.3)
            return (await job.cancel()).state

    assert asyncio.run(stop()) == "canceled"
