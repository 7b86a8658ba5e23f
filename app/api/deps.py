"""What the routes work with, made once by the composition root."""

import re
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request

from app.jobs.queue import JobQueue
from app.storage import Blobs


@dataclass(frozen=True, slots=True)
class Service:
    """The API's tools and limits."""

    engine: sa.Engine
    queue: JobQueue
    blobs: Blobs
    max_upload_bytes: int
    min_free_bytes: int
    max_wait_seconds: float
    dead_after_seconds: float
    stopping: Event = field(default_factory=Event)  # set: answer those who wait, the process ends


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def _base_url(request: Request) -> str:
    """Scheme and host by which the caller reached us. Anything but a plain host name and port is not repeated."""
    host = request.headers.get("host", "")
    if not re.fullmatch(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", host):
        address, port = request.scope.get("server") or ("localhost", 80)
        host = f"{address}:{port}"
    return f"{request.url.scheme}://{host}"


ServiceDep = Annotated[Service, Depends(_service)]
BaseUrl = Annotated[str, Depends(_base_url)]
