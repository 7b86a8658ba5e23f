"""What a file holds is told while its job waits behind another, by a process of its own that may die at any time."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_file_behind_a_job_that_hangs_is_recognised_and_killing_who_looks_changes_nothing(
    serve: Callable[..., Any], checkpoint: Path
) -> None:
    server = serve()
    first = server.upload(checkpoint)
    child = server.stopped_child()

    second = server.upload(checkpoint)
    server.until(lambda: server.job(second)["recognised"] is not None, seconds=90)
    assert server.job(second)["state"] == "queued"

    os.kill(server.looking_parent(), signal.SIGKILL)
    third = server.upload(checkpoint)
    server.until(lambda: server.job(third)["recognised"] is not None, seconds=90)

    os.kill(child, signal.SIGCONT)
    for job_id in (first, second, third):
        server.until(lambda job_id=job_id: server.job(job_id)["state"] == "succeeded", seconds=90)
