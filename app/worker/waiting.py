"""A worker whose GPU failed waits until it works again: alive and seen, and without a job."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator

from app.devices.choice import Device
from app.errors import DeviceUnusable
from app.jobs.liveness import DeviceHealth

_SHORTEST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0

log = logging.getLogger("fusebox.worker")


def wait_for_device(
    wanted: str,
    find: Callable[[], Device],
    beat: Callable[[DeviceHealth], object],
    tell: Callable[[DeviceUnusable], object],
    stop: threading.Event,
    heartbeat_seconds: float,
    pauses: Iterator[float] | None = None,
) -> Device | None:
    """The device, once there is one that works; None if the worker is to stop before that."""
    began = time.time()
    pauses = pauses or _pauses()
    while not stop.is_set():
        try:
            return find()
        except DeviceUnusable as error:
            health = DeviceHealth(wanted, "failed", str(error.facts["reason"]), began)
            pause = next(pauses)
            tell(error)
            log.warning("%s", json.dumps({"event": "device.failed", "detail": error.detail, "again_in": pause}))
        until = time.monotonic() + pause
        while time.monotonic() < until and not stop.is_set():
            beat(health)
            stop.wait(min(heartbeat_seconds, pause))
    return None


def _pauses() -> Iterator[float]:
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
