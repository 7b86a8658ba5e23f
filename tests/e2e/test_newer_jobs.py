"""Jobs that a newer version accepted, in a service that lacks an option of theirs: after a roll-back."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.asking import MODE

_ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def api(serve: Callable[..., Any]) -> Any:
    return serve(role="api")


def _accepted_by_a_newer_version(api: Any, path: Path) -> str:
    job_id = str(api.upload(path, strict="true"))
    with sqlite3.connect(api.data_dir / "fusebox.sqlite") as database:
        newer = json.dumps({"strict": True, "turbo": {"level": 9}})
        database.execute("UPDATE fusebox_jobs SET options = ?, phase = 'warming' WHERE id = ?", (newer, job_id))
    database.close()
    return job_id


def _worker(data_dir: Path) -> "subprocess.Popen[bytes]":
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    own = {"FUSEBOX_DATA_DIR": str(data_dir), "FUSEBOX_SANDBOX": MODE, "FUSEBOX_DEVICE": "cpu"}
    return subprocess.Popen([sys.executable, "-m", "app", "worker"], cwd=_ROOT, env=plain | own)


def test_a_job_with_an_unknown_option_is_listed_told_and_failed_and_the_others_are_done(
    api: Any, checkpoint: Path
) -> None:
    newer = _accepted_by_a_newer_version(api, checkpoint)
    usual = api.upload(checkpoint)

    listed = {one["id"]: one for one in api.http.get("/v1/jobs").json()["jobs"]}
    assert (listed[newer]["unknown_options"], listed[usual]["unknown_options"]) == (["turbo"], [])
    assert (listed[newer]["options"]["strict"], listed[newer]["phase"]) == (True, None)
    assert api.job(newer) == listed[newer]

    worker = _worker(api.data_dir)
    try:
        failed, done = api.job(newer, wait=90), api.job(usual, wait=90)
    finally:
        worker.kill()
        worker.wait()
    assert (failed["state"], failed["problem"]["code"], failed["problem"]["unknown"]) == (
        *("failed", "invalid-option", ["turbo"]),
    )
    assert done["state"] == "succeeded"
    events = api.http.get(f"/v1/jobs/{newer}/events").text
    assert '"unknown_options":["turbo"]' in events
    refused = api.http.get(f"/v1/jobs/{newer}/model")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-option")


def test_an_unknown_option_of_a_waiting_job_is_no_obstacle_to_its_end(api: Any, checkpoint: Path) -> None:
    newer = _accepted_by_a_newer_version(api, checkpoint)

    ended = api.http.delete(f"/v1/jobs/{newer}")

    assert (ended.status_code, ended.json()["state"]) == (200, "canceled")
    assert api.blobs() == set()
