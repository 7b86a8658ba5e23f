"""What the routes work with, made once by the composition root."""

from dataclasses import dataclass, field
from threading import Event
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request

from app.api.access import Caller, identify
from app.api.network.addresses import client_group
from app.api.readiness import Readiness
from app.api.receiving.admission import Admission
from app.api.receiving.repeated import Ongoing
from app.api.receiving.uploads import UploadLimits
from app.api.sending.results import Bundles
from app.api.watching import Watch
from app.jobs.keys import Keyring
from app.jobs.queue import JobQueue
from app.jobs.quotas import Quotas
from app.storage import Blobs


@dataclass(frozen=True, slots=True)
class Service:
    """The API's tools and limits."""

    engine: sa.Engine
    queue: JobQueue
    blobs: Blobs
    uploads: UploadLimits
    quotas: Quotas
    admission: Admission
    keyring: Keyring | None  # None: whoever reaches us may use the service
    max_wait_seconds: float
    dead_after_seconds: float
    public_url: str  # empty: links are made from the Host header, which the caller sent
    stopping: Event  # set: answer those who wait, the process ends
    watch: Watch
    ongoing: Ongoing = field(default_factory=Ongoing)
    bundles: Bundles = field(default_factory=Bundles)
    readiness: Readiness = field(default_factory=Readiness)


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def _base_url(request: Request, service: Annotated[Service, Depends(_service)]) -> str:
    """Where callers find us: as the operator says, else as this caller reached us. The guard has checked the Host."""
    if service.public_url:
        return service.public_url.rstrip("/")
    address, port = request.scope.get("server") or ("localhost", 80)
    return f"{request.url.scheme}://{request.headers.get('host') or f'{address}:{port}'}"


def _caller(request: Request, service: Annotated[Service, Depends(_service)]) -> Caller:
    """Raises MissingKey, InvalidKey. Run in a thread: it asks the database."""
    if service.keyring is None:
        return Caller(None, client_group(request.client.host if request.client else None))
    key = identify(service.keyring, request.headers)
    return Caller(key, f"key {key}")


ServiceDep = Annotated[Service, Depends(_service)]
BaseUrl = Annotated[str, Depends(_base_url)]
CallerDep = Annotated[Caller, Depends(_caller)]
