"""What docs/operations.md says of a back-up: database first, then the files, while the service runs."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.docs.pages import ROOT
from tests.e2e.conftest import Server

_SMALL = ROOT / "tests/data/yolov7-blocks/RepConv_identity.pt"


def test_a_service_begun_from_a_back_up_has_the_jobs_and_does_what_was_waiting(
    serve: Callable[..., Server], long_job: Path
) -> None:
    running = serve()
    done = running.upload(_SMALL)
    running.job(done, wait=60)
    model = running.http.get(f"/v1/jobs/{done}/model").content
    begun = running.upload(long_job)

    kept = running.data_dir.parent / "kept"
    kept.mkdir()
    with (
        closing(sqlite3.connect(running.data_dir / "fusebox.sqlite")) as source,
        closing(sqlite3.connect(kept / "fusebox.sqlite")) as target,
    ):
        source.backup(target)
    shutil.copytree(running.data_dir / "blobs", kept / "blobs")
    running.kill()

    with closing(Server(kept, "serve", {})) as restored:
        restored.start()
        assert restored.http.get(f"/v1/jobs/{done}/model").content == model
        assert restored.job(begun, wait=120)["state"] == "succeeded"
        shutil.rmtree(kept / "blobs" / done)
        assert restored.http.get(f"/v1/jobs/{done}/model").status_code == 410
