"""How the GPU of this worker fares: found out after each of its faults, and told with every heartbeat."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.devices.choice import Device, judge
from app.devices.found import Fault, Found
from app.devices.looking import look
from app.errors import DeviceUnusable
from app.jobs.liveness import DeviceHealth, DeviceState

# So many jobs in a row, each with a fault: one alone may be a file that makes the GPU fail.
_FAILING_JOBS = 2


class DeviceLost(Exception):
    """The GPU does not work any more: this worker takes no job until it does."""


@dataclass(slots=True)
class DeviceWatch:
    """Over the device of one worker. The thread of the jobs changes it, that of the heartbeat reads it."""

    device: Device
    look: Callable[[int], Found] = look
    health: DeviceHealth = field(init=False)
    _faulty: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.health = DeviceHealth(self.device.name, "ok", None, time.time())

    def worked(self) -> None:
        """A job succeeded."""
        self._faulty.clear()
        self._tell("ok", None)

    def failed(self, job_id: str, fault: Fault) -> None:
        """A child says that the device failed: it is looked at anew. Raises DeviceLost."""
        assert self.device.gpu is not None
        self._faulty.add(job_id)
        if len(self._faulty) >= _FAILING_JOBS:
            self._tell("failing", fault)
        index = self.device.gpu.index
        try:
            judge(self.device.name, index, self.look(index))
        except DeviceUnusable as error:
            self._tell("failed", error.facts["reason"])
            raise DeviceLost(error.detail) from error

    def _tell(self, state: DeviceState, error: str | None) -> None:
        since = self.health.since if self.health.state == state else time.time()
        self.health = DeviceHealth(self.device.name, state, error, since)
