"""Whether the process lives, and whether the service can do its work."""

from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.api.deps import Service, ServiceDep
from app.api.openapi.documented import documented
from app.api.schemas import DeviceView, Health, RefusalView, Sandbox
from app.jobs.liveness import LiveWorker, live_workers
from app.jobs.refused import Refusal, read_refusals

_WEAKEST_FIRST: tuple[Sandbox, ...] = ("unknown", "off", "partial", "full")

router = APIRouter()

# 503 has two kinds of answers: this one, and what every request may be refused with.
_HEALTH = documented()
_HEALTH[503]["content"]["application/json"] = {"schema": {"$ref": "#/components/schemas/Health"}}


@router.head("/livez", include_in_schema=False, response_class=PlainTextResponse)
@router.get("/livez", tags=["health"], response_class=PlainTextResponse, responses=documented())
async def livez() -> str:
    """The process answers."""
    return "ok\n"


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", tags=["health"], response_model=Health, responses=_HEALTH)
async def readyz(service: ServiceDep) -> Response:
    """Database, blob store and at least one worker are there; how what works on uploads is confined, how the devices
    fare, and why workers do not start."""
    health = await service.readiness.read(lambda: _look(service))
    return JSONResponse(
        health.model_dump(mode="json"), 200 if health.ready else 503, headers={"Cache-Control": "no-store"}
    )


def _look(service: Service) -> Health:
    workers = _Workers(service)
    checks = {
        "database": _result(lambda: _select_one(service.engine)),
        "blobs": _result(service.blobs.check),
        "worker": _result(workers.need_one),
    }
    return Health(
        ready=all(result == "ok" for result in checks.values()),
        checks=checks,
        sandbox=_sandbox(workers.alive),
        devices=[DeviceView.of(one.device) for one in workers.alive if one.device is not None],
        refused=[RefusalView.of(one) for one in workers.refused],
    )


@dataclass(slots=True)
class _Workers:
    """Those that were found alive; none while the database can't tell."""

    service: Service
    alive: list[LiveWorker] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def need_one(self) -> None:
        self.refused = read_refusals(self.service.engine)
        self.alive = live_workers(self.service.engine, self.service.dead_after_seconds)
        if not self.alive:
            raise NoLiveWorker
        if not any(one.takes_jobs for one in self.alive):
            raise NoWorkingDevice


def _result(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:
        # The kind only: texts of drivers hold host names and paths.
        return f"failed: {type(error).__name__}"
    return "ok"


def _select_one(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.select(1))


def _sandbox(alive: list[LiveWorker]) -> Sandbox:
    """The weakest of all that take jobs: nobody knows which of them takes one."""
    found = {one.confinement for one in alive if one.takes_jobs}
    return next((one for one in _WEAKEST_FIRST if one in found), "unknown")


class NoLiveWorker(Exception):
    """No worker has been heard of lately."""


class NoWorkingDevice(Exception):
    """Every worker waits for a GPU that failed."""
