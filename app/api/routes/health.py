"""Whether the process lives, and whether the service can do its work."""

from collections.abc import Callable

import sqlalchemy as sa
from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.api.deps import Service, ServiceDep
from app.api.openapi.documented import documented
from app.api.schemas import Health, Sandbox
from app.jobs.liveness import confinements

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
    """Database, blob store and at least one worker are there; and how what works on uploads is confined."""
    health = await service.readiness.read(lambda: _look(service))
    return JSONResponse(health.model_dump(), 200 if health.ready else 503, headers={"Cache-Control": "no-store"})


def _look(service: Service) -> Health:
    checks = _check(service)
    ready = all(result == "ok" for result in checks.values())
    return Health(ready=ready, checks=checks, sandbox=_sandbox(service) if ready else "unknown")


def _check(service: Service) -> dict[str, str]:
    return {
        "database": _result(lambda: _select_one(service.engine)),
        "blobs": _result(service.blobs.check),
        "worker": _result(lambda: _need_worker(service)),
    }


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


def _need_worker(service: Service) -> None:
    if not confinements(service.engine, service.dead_after_seconds):
        raise NoLiveWorker


def _sandbox(service: Service) -> Sandbox:
    """The weakest of all live workers': nobody knows which of them takes a job."""
    found = confinements(service.engine, service.dead_after_seconds)
    return next((one for one in _WEAKEST_FIRST if one in found), "unknown")


class NoLiveWorker(Exception):
    """No worker has been heard of lately."""
