"""How a worker's GPU fares: what its faults, looks and successes make of it."""

import threading
from collections.abc import Callable

import pytest

from app.devices.choice import Device
from app.devices.found import Found
from app.errors import DeviceUnusable
from app.jobs.liveness import DeviceHealth
from app.worker.device import DeviceLost, DeviceWatch
from app.worker.waiting import wait_for_device
from tests.devices.gpus import BROKEN, DEVICE, FOUND


def _watch(found: Found = FOUND) -> DeviceWatch:
    return DeviceWatch(DEVICE, look=lambda index: found)


def test_several_jobs_in_a_row_with_faults_make_a_failing_device_and_a_success_ends_that() -> None:
    watch = _watch()

    watch.failed("a", "assert")
    watch.failed("a", "assert")
    assert watch.health.state == "ok"
    watch.failed("b", "illegal-address")
    assert (watch.health.device, watch.health.state, watch.health.error) == ("cuda:0", "failing", "illegal-address")
    since = watch.health.since
    watch.failed("c", "ecc")
    assert (watch.health.error, watch.health.since) == ("ecc", since)

    watch.worked()
    assert (watch.health.state, watch.health.error) == ("ok", None)
    watch.failed("d", "assert")
    assert watch.health.state == "ok"


def test_a_device_that_fails_when_it_is_looked_at_is_lost() -> None:
    watch = _watch(BROKEN)

    with pytest.raises(DeviceLost):
        watch.failed("a", "launch-failed")

    assert (watch.health.state, watch.health.error) == ("failed", "gpu-broken")


def test_a_device_that_is_gone_is_lost_and_not_exchanged_for_the_cpu() -> None:
    watch = _watch(FOUND.model_copy(update={"count": 0, "gpu": None, "computed": None}))

    with pytest.raises(DeviceLost):
        watch.failed("a", "unavailable")


def _finds(results: list[Device | str]) -> Callable[[], Device]:
    def find() -> Device:
        found = results.pop(0)
        if isinstance(found, str):
            raise DeviceUnusable(found, reason=found)
        return found

    return find


def test_a_worker_without_a_device_lives_and_looks_again_until_there_is_one() -> None:
    told: list[DeviceHealth] = []
    refused: list[DeviceUnusable] = []
    find = _finds(["gpu-broken", "no-gpu", DEVICE])

    found = wait_for_device("cuda:0", find, told.append, refused.append, threading.Event(), 0.01, iter([0.02, 0.01]))

    assert found == DEVICE
    assert {(one.device, one.state, one.error) for one in told} == {
        ("cuda:0", "failed", "gpu-broken"),
        ("cuda:0", "failed", "no-gpu"),
    }
    assert len({one.since for one in told}) == 1
    assert [error.facts["reason"] for error in refused] == ["gpu-broken", "no-gpu"]


def test_a_worker_that_waits_can_be_stopped() -> None:
    stop = threading.Event()
    find = _finds(["no-gpu"] * 9)

    found = wait_for_device("cuda:0", find, lambda _: stop.set(), lambda _: None, stop, 0.01, iter([0.05] * 9))

    assert found is None
