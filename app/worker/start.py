"""What a worker makes sure of before its first job: that its device computes, and that its children are confined."""

import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from app.devices.choice import Device, find
from app.devices.looking import look
from app.errors import CanNotStart, DeviceUnusable, DiskFull
from app.jobs.liveness import DeviceHealth, Reaper, beat
from app.jobs.opening import open_prepared
from app.jobs.refused import Refusal, tell_refusal
from app.sandbox.proof import Demand, NotConfined, Proof, prove
from app.sandbox.supervisor import Forge
from app.settings import InvalidSettings, Settings, as_environment, service_version
from app.worker.run_job import Bench
from app.worker.waiting import wait_for_device

# The code of a worker that refuses to work unconfined; no answer to a caller has it.
NOT_CONFINED = "not-confined"
_LESS = "FUSEBOX_SANDBOX=available starts the worker with as much as there is, where all uploads are your own"
_SHOWN = 5

_SHARE_OF_GPU = 0.9  # for one job: the rest is for CUDA itself

log = logging.getLogger("fusebox.worker")


def usable_device(settings: Settings) -> Device:
    """What jobs are computed on. Raises InvalidSettings, and not later in the first job."""
    try:
        return find(settings.device, look)
    except DeviceUnusable as error:
        _write_down(settings, _unusable(error, settings.device))
        raise InvalidSettings(f"{error.code}: {error.detail} {error.remedy}") from None


def awaited_device(settings: Settings, engine: sa.Engine, worker: str, reaper: Reaper, stop: threading.Event) -> Device:
    """The same, once it works; meanwhile this worker lives, takes no jobs, and hands on what it held before."""

    def say(health: DeviceHealth) -> None:
        beat(engine, worker, device=health)
        reaper.pass_once()

    def tell(error: DeviceUnusable) -> None:
        _write_down(settings, _unusable(error, settings.device))

    device = wait_for_device(
        settings.device, lambda: find(settings.device, look), say, tell, stop, settings.heartbeat_seconds
    )
    if device is None:
        beat(engine, worker, leaving=True)
        raise SystemExit(0)
    return device


def device_memory(settings: Settings, device: Device) -> int:
    if device.gpu is None:
        return 0
    return min(settings.job_device_memory_bytes or int(device.gpu.memory * _SHARE_OF_GPU), device.gpu.memory)


def start_over(settings: Settings, device: Device, forge: Forge) -> NoReturn:
    """Be a new worker in the same process, which waits for the device that this one had."""
    forge.close()
    again = as_environment(settings.model_copy(update={"device": device.name}))
    # Threads of the queue end with this program and not by themselves: what they hold goes to whoever inherits it.
    os.execve(sys.executable, [sys.executable, "-m", "app", "worker", "--wait-for-device"], os.environ | again)


def say_ready(worker: str, device: Device, confinement: str, settings: Settings) -> None:
    facts = {"version": service_version(), **device.facts(), "sandbox": confinement}
    log.info("%s", json.dumps({"event": "worker.ready", "worker": worker, **facts, "data_dir": str(settings.data_dir)}))


def prove_confined(bench: Bench, settings: Settings, worker: str) -> Proof:
    """How the children of this worker are confined, found out before there is a job.

    Raises InvalidSettings, CanNotStart.
    """
    places = [settings.data_dir, settings.work_dir]
    for url in (sa.make_url(settings.database).database, settings.blobs.removeprefix("file://")):
        places += [Path(url)] if url and Path(url).is_absolute() and Path(url).exists() else []
    demand = Demand(settings.sandbox, bench.device, bench.limits_for(0), tuple(places))
    try:
        proof = prove(bench.forge, settings.work_dir / worker / "proof", demand)
    except NotConfined as error:
        why = f"FUSEBOX_SANDBOX is {settings.sandbox!r}, and "
        if error.reason != "no-job":
            why += "the kernel does not confine what works on uploads: "
        remedy = f"{error.remedy}; {_LESS}." if settings.sandbox == "required" else f"{error.remedy}."
        _write_down(
            settings,
            Refusal(settings.device, NOT_CONFINED, error.reason, f"{error.reason}: {why}{error.detail}.", remedy),
        )
        raise InvalidSettings(f"{NOT_CONFINED}: {error.reason}: {why}{_shortened(error)}. {remedy}") from None
    except OSError as error:
        if (full := DiskFull.of(error)) is None:
            raise
        raise CanNotStart(f"FUSEBOX_DATA_DIR is {str(settings.data_dir)!r}: {full.detail}") from None
    if proof.confinement != "full":
        log.warning("worker.not_confined confinement=%s wrong=%s", proof.confinement, "; ".join(proof.wrong))
    return proof


def _write_down(settings: Settings, refusal: Refusal) -> None:
    """Where the API finds it, if the database can be reached: it is told here in any case."""
    try:
        engine = open_prepared(settings.database)
        try:
            tell_refusal(engine, socket.gethostname(), refusal)
        finally:
            engine.dispose()
    except (CanNotStart, sa.exc.SQLAlchemyError) as error:
        log.warning(
            "worker.refusal_not_told cause=%s", error if isinstance(error, CanNotStart) else type(error).__name__
        )


def _unusable(error: DeviceUnusable, wanted: str) -> Refusal:
    return Refusal(wanted, error.code, str(error.facts["reason"]), error.detail, error.remedy)


def _shortened(error: NotConfined) -> str:
    """What is wrong with the confinement, with the first of it by name."""
    if not error.wrong:
        return error.detail
    more = len(error.wrong) - _SHOWN
    return f"{error.detail} ({'; '.join(error.wrong[:_SHOWN])}{f'; and {more} more' if more > 0 else ''})"
